package signer_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

func TestKeySetSurvivesItsEncoding(t *testing.T) {
	private := privateKey(1)
	ca := sdktest.NewCA(t)
	leaf := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Key: sdktest.Ed25519Key})
	want := signer.KeySetView{Validity: 90 * time.Second, Keys: []signer.PublishedKey{
		{Key: private.Public().(ed25519.PublicKey)},
		{Key: testPublic(t, testKey(t, 2)), NotBefore: start, NotAfter: start.Add(time.Hour)},
		{Key: leaf.Leaf.PublicKey.(ed25519.PublicKey), Chain: []*x509.Certificate{leaf.Leaf, ca.Certificate}},
	}}
	data, err := signer.EncodeJWKS(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := signer.ParseJWKS(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Validity != want.Validity || len(got.Keys) != 3 {
		t.Fatalf("got %+v", got)
	}
	for i := range want.Keys {
		g, w := got.Keys[i], want.Keys[i]
		if !g.Key.Equal(w.Key) || !g.NotBefore.Equal(w.NotBefore) || !g.NotAfter.Equal(w.NotAfter) || len(g.Chain) != len(w.Chain) {
			t.Errorf("key %d: got %+v, want %+v", i, g, w)
		}
	}
	// Another implementation reads the same.
	var other jose.JSONWebKeySet
	if err := json.Unmarshal(data, &other); err != nil {
		t.Fatal(err)
	}
	for i, k := range other.Keys {
		if !k.Valid() || !want.Keys[i].Key.Equal(k.Key) || k.KeyID != signer.Thumbprint(want.Keys[i].Key) || len(k.Certificates) != len(want.Keys[i].Chain) {
			t.Errorf("key %d as go-jose reads it: %+v", i, k)
		}
	}
	// And what it writes is read here.
	if data, err = json.Marshal(other); err != nil {
		t.Fatal(err)
	}
	if back, err := signer.ParseJWKS(data); err != nil || len(back.Keys) != 3 {
		t.Errorf("what go-jose writes: %+v, %v", back, err)
	}
}

func TestKeySetThatIsNotExactIsRefused(t *testing.T) {
	x := base64.RawURLEncoding.EncodeToString(testPublic(t, testKey(t, 1)))
	id := signer.Thumbprint(testPublic(t, testKey(t, 1)))
	good := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, x)
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	with := func(members string) string { return set(strings.TrimSuffix(good, "}") + "," + members + "}") }
	for name, c := range map[string]struct {
		json string
		keys int // -1: refused
	}{
		"good":                {set(good), 1},
		"empty":               {set(), 0},
		"with everything":     {with(fmt.Sprintf(`"kid":%q,"alg":"EdDSA","use":"sig","nbf":1,"exp":2`, id)), 1},
		"fully specified alg": {with(`"alg":"Ed25519"`), 1},
		"unknown members":     {with(`"color":"blue"`), 1},
		"another kind":        {set(`{"kty":"RSA","n":"AQAB","e":"AQAB"}`, good), 1},
		"another curve":       {set(`{"kty":"OKP","crv":"X25519","x":"AAAA"}`, good), 1},
		"for encryption":      {with(`"use":"enc"`), 0},
		"not JSON":            {`{`, -1},
		"another type":        {`[]`, -1},
		"no keys":             {`{}`, -1},
		"null keys":           {`{"keys":null}`, -1},
		"a key twice":         {set(good, good), -1},
		"a member twice":      {with(fmt.Sprintf(`"x":%q`, x)), -1},
		"in another case":     {with(`"EXP":2`), -1},
		"set member twice":    {`{"keys":[],"keys":[` + good + `]}`, -1},
		"set in another case": {`{"KEYS":[` + good + `]}`, -1},
		"key is null":         {set(`null`), -1},
		"key is a string":     {set(`"x"`), -1},
		"a foreign kid":       {with(`"kid":"key-1"`), -1},
		"a private key":       {with(`"d":"AAAA"`), -1},
		"a private key, null": {with(`"d":null`), -1},
		"a private RSA key":   {set(`{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB"}`), -1},
		"another algorithm":   {with(`"alg":"RS256"`), -1},
		"short x":             {set(`{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`), -1},
		"padded x":            {set(fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, x+"=")), -1},
		"x with a line break": {set(fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, x[:10]+"\n"+x[10:])), -1},
		"small order":         {set(`{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`), -1},
		"reversed times":      {with(`"nbf":2,"exp":2`), -1},
		"negative time":       {with(`"nbf":-1`), -1},
		"absurd time":         {with(`"exp":999999999999999`), -1},
		"fractional time":     {with(`"exp":1.5`), -1},
		"chain is not base64": {with(`"x5c":["*"]`), -1},
		"chain is no DER":     {with(`"x5c":["AAAA"]`), -1},
		"long chain":          {with(`"x5c":["","","","","","","","",""]`), -1},
		"negative validity":   {`{"keys":[],"valid_seconds":-1}`, -1},
		"absurd validity":     {`{"keys":[],"valid_seconds":999999999999}`, -1},
		"too many keys":       {set(strings.Split(strings.Repeat(`{"kty":"RSA"};`, 16)+good, ";")...), -1},
		"too large":           {set(good) + strings.Repeat(" ", signer.MaxDirectorySize), -1},
	} {
		v, err := signer.ParseJWKS([]byte(c.json))
		if c.keys < 0 {
			if !errors.Is(err, signer.ErrMaterial) {
				t.Errorf("%s: got %v, want ErrMaterial", name, err)
			}
		} else if err != nil || len(v.Keys) != c.keys {
			t.Errorf("%s: got %d keys, %v; want %d", name, len(v.Keys), err, c.keys)
		}
	}
}

func TestChainForAnotherKeyIsRefused(t *testing.T) {
	leaf := sdktest.NewCA(t).Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Key: sdktest.Ed25519Key})
	_, err := signer.EncodeJWKS(signer.KeySetView{Keys: []signer.PublishedKey{{Key: testPublic(t, testKey(t, 1)), Chain: []*x509.Certificate{leaf.Leaf}}}})
	if !errors.Is(err, signer.ErrConfig) {
		t.Errorf("got %v, want ErrConfig", err)
	}
}

func TestChainInAnotherFormOfBase64IsRefused(t *testing.T) {
	leaf := sdktest.NewCA(t).Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Key: sdktest.Ed25519Key}).Leaf
	good, err := signer.EncodeJWKS(signer.KeySetView{Keys: []signer.PublishedKey{{Key: leaf.PublicKey.(ed25519.PublicKey), Chain: []*x509.Certificate{leaf}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a line break":     {`"x5c":["MII`, `"x5c":["MII\n`},
		"bytes of no use":  {`"]`, `AAAA"]`},
		"without the head": {`"x5c":["MII`, `"x5c":["`},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if _, err := signer.ParseJWKS([]byte(bad)); bad == string(good) || !errors.Is(err, signer.ErrMaterial) {
			t.Errorf("%s: got %v, want ErrMaterial", name, err)
		}
	}
}

func TestDirectoryHandlerServesTheCurrentSet(t *testing.T) {
	view := signer.KeySetView{Keys: []signer.PublishedKey{{Key: testPublic(t, testKey(t, 1))}}}
	h := signer.DirectoryHandler(func() signer.KeySetView { return view })
	get := func(method string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, signer.DirectoryPath, nil))
		return w
	}
	w := get(http.MethodGet)
	if v, err := signer.ParseJWKS(w.Body.Bytes()); w.Code != 200 || err != nil || len(v.Keys) != 1 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	view.Keys = append(view.Keys, signer.PublishedKey{Key: testPublic(t, testKey(t, 2))})
	if v, err := signer.ParseJWKS(get(http.MethodGet).Body.Bytes()); err != nil || len(v.Keys) != 2 {
		t.Errorf("after a rotation: %+v, %v", v, err)
	}
	if w := get(http.MethodPost); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	view.Keys[0].Key = nil
	if w := get(http.MethodGet); w.Code != http.StatusInternalServerError {
		t.Errorf("a set that cannot be encoded: %d", w.Code)
	}
}
