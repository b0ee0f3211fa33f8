package sdk_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

func newKey(t *testing.T) signer.Key {
	t.Helper()
	key, err := signer.KeyOf(sdktest.Ed25519(t))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// served is the key set that a node serves.
func served(t *testing.T, fed *sdk.Federation) signer.KeySetView {
	t.Helper()
	w := httptest.NewRecorder()
	fed.KeyDirectory().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, signer.DirectoryPath, nil))
	view, err := signer.ParseJWKS(w.Body.Bytes())
	if err != nil {
		t.Fatalf("status %d: %v", w.Code, err)
	}
	return view
}

func TestAProviderWithMoreKeysThanASetHoldsServesTheFirst(t *testing.T) {
	var all []crypto.PublicKey
	for range 40 {
		all = append(all, newKey(t).Public())
	}
	m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
		active := n.key.key
		b.Key = sdk.KeyFunc(func(context.Context) (*sdk.KeySet, error) {
			return &sdk.KeySet{Active: active, Published: all}, nil
		})
		if n.name == "b" {
			b.Key = n.key
		}
	})
	a, b := m.nodes[0], m.nodes[1]
	if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v, refused as %q", err, signer.RefusalOf(resp))
	}
	var got []crypto.PublicKey
	for _, k := range served(t, a.fed).Keys {
		got = append(got, k.Key)
	}
	if want := append([]crypto.PublicKey{a.key.key.Public()}, all[:15]...); !slices.EqualFunc(got, want, sameKey) {
		t.Errorf("%d keys are served, want the active one and the first 15", len(got))
	}
}

func TestManyRotationsLeaveTheLastKeysPublished(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	keys := []crypto.PublicKey{a.key.key.Public()}
	for i := range 18 {
		key := newKey(t)
		keys = append(keys, key.Public())
		a.key.set(func(s *source) { s.key = key })
		a.waitChange(t, sdk.RoleKey, uint64(i+2))
	}
	if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v, refused as %q", err, signer.RefusalOf(resp))
	}
	slices.Reverse(keys)
	var got []crypto.PublicKey
	for _, k := range served(t, a.fed).Keys {
		got = append(got, k.Key)
	}
	if !slices.EqualFunc(got, keys[:16], sameKey) {
		t.Errorf("%d keys are served, want the last 16", len(got))
	}
}

func TestKeysThatCannotBePublishedAreNotPutIntoService(t *testing.T) {
	ca := sdktest.NewCA(t)
	n := &node{name: "a", told: make(chan struct{}, 1)}
	n.trust, n.identity = &source{roots: certs(ca.Certificate)}, &source{cert: ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}}).TLS}
	private := sdktest.Ed25519(t)
	active, err := signer.KeyOf(private)
	if err != nil {
		t.Fatal(err)
	}
	leaf := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Signer: private}).TLS.Leaf
	long := slices.Repeat([]*x509.Certificate{leaf}, 9)
	for name, set := range map[string]*sdk.KeySet{
		"a chain of 9 certificates": {Active: active, Chains: [][]*x509.Certificate{long}},
		"a point of small order":    {Active: active, Published: []crypto.PublicKey{smallOrder}},
	} {
		_, err := sdk.Builder{
			Trust: n.trust, Identity: n.identity, Quorum: quorum.Policy{Writes: 1},
			Key:   sdk.KeyFunc(func(context.Context) (*sdk.KeySet, error) { return set, nil }),
			Peers: []sdk.Peer{{URL: "https://b.example"}},
		}.Build(t.Context())
		if !errors.Is(err, sdk.ErrMaterial) {
			t.Errorf("%s: got %v, want ErrMaterial", name, err)
		}
	}
}

// smallOrder is the neutral element, with which a signature holds for any message.
var smallOrder = ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...))

func sameKey(a, b crypto.PublicKey) bool { return a.(ed25519.PublicKey).Equal(b) }
