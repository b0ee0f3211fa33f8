package signer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

// goodInput is a Signature-Input of ours.
func goodInput(body bool) string {
	return string(appendInput(nil, &signatureInput{
		body: body, created: vectorNow, expires: vectorNow + 30, nonce: Nonce{1, 2, 3}, keyID: strings.Repeat("A", ThumbprintLen),
	}))
}

// sameAsHTTPSFV checks with an independent parser of structured fields that what was accepted says what we
// took it to say.
func sameAsHTTPSFV(t *testing.T, s string, in *signatureInput) {
	t.Helper()
	dict, err := httpsfv.UnmarshalDictionary([]string{s})
	if err != nil {
		t.Fatalf("%q: no structured field: %v", s, err)
	}
	member, ok := dict.Get("sig")
	list, isList := member.(httpsfv.InnerList)
	if !ok || !isList || len(dict.Names()) != 1 {
		t.Fatalf("%q: no inner list sig alone", s)
	}
	want := 6
	if in.body {
		want = 8
	}
	if len(list.Items) != want || len(list.Params.Names()) != 6 {
		t.Fatalf("%q: %d components, %d parameters", s, len(list.Items), len(list.Params.Names()))
	}
	for name, value := range map[string]any{
		"created": in.created, "expires": in.expires, "keyid": in.keyID, "alg": "ed25519", "tag": profileTag,
		"nonce": base64.RawURLEncoding.EncodeToString(in.nonce[:]),
	} {
		if got, _ := list.Params.Get(name); got != value {
			t.Fatalf("%q: %s is %v, we read %v", s, name, got, value)
		}
	}
}

func TestSignatureFieldsAreStructuredFields(t *testing.T) {
	for _, body := range []bool{true, false} {
		in, tag := parseInput(goodInput(body))
		if tag != "" {
			t.Fatal(tag)
		}
		sameAsHTTPSFV(t, goodInput(body), &in)
	}
	sig := string(appendSignature(nil, bytes.Repeat([]byte{0xfe}, 64)))
	dict, err := httpsfv.UnmarshalDictionary([]string{sig})
	if err != nil {
		t.Fatal(err)
	}
	item, _ := dict.Get("sig")
	if got, ok := item.(httpsfv.Item).Value.([]byte); !ok || !bytes.Equal(got, bytes.Repeat([]byte{0xfe}, 64)) {
		t.Errorf("got %v", item)
	}
	digest := NewContent([]byte("x"))
	if dict, err = httpsfv.UnmarshalDictionary([]string{digest.header}); err != nil {
		t.Fatal(err)
	}
	item, _ = dict.Get("sha-256")
	if got, ok := item.(httpsfv.Item).Value.([]byte); !ok || !bytes.Equal(got, digest.sum[:]) {
		t.Errorf("got %v", item)
	}
}

func FuzzSignatureInput(f *testing.F) {
	for _, s := range []string{
		"", "sig=", "sig=()", goodInput(true), goodInput(false), goodInput(true) + ", b=()", goodInput(true) + ";x=1",
		strings.Replace(goodInput(true), "ed25519", "rsa", 1), "sig=" + strings.Repeat("(", 100), `sig=("@method");created=1`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in, tag := parseInput(s)
		if tag != "" {
			return
		}
		// There is one form: what is accepted is what we would write.
		if again := string(appendInput(nil, &in)); again != s {
			t.Fatalf("accepted %q, would write %q", s, again)
		}
		sameAsHTTPSFV(t, s, &in)
	})
}

func FuzzSignature(f *testing.F) {
	for _, s := range []string{"", "sig=", "sig=::", string(appendSignature(nil, make([]byte, 64))), string(appendSignature(nil, make([]byte, 63))), "sig=:AA==:, b=:AA==:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var sig [64]byte
		if parseSignature(s, &sig) == "" && string(appendSignature(nil, sig[:])) != s {
			t.Fatalf("accepted %q", s)
		}
	})
}

func FuzzContentDigest(f *testing.F) {
	for _, s := range []string{"", "sha-256=::", NewContent(nil).header, NewContent(nil).header + ", sha-512=:AA==:", "sha-512=:AA==:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var sum [32]byte
		if parseDigest(s, &sum) == "" && contentDigest(sum) != s {
			t.Fatalf("accepted %q", s)
		}
	})
}

func FuzzAuthority(f *testing.F) {
	for _, s := range []string{"", "b.example", "B.example:443", "[::1]:9077", "a@b", "b:0443", "[::1", "b.example:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := canonicalAuthority(s, "https")
		if !ok {
			return
		}
		if again, ok := canonicalAuthority(a, "https"); !ok || again != a {
			t.Fatalf("%q becomes %q, and that %q %v", s, a, again, ok)
		}
		if strings.ContainsAny(a, " \r\n\t/@?#\"") || a != strings.ToLower(a) || len(a) > maxAuthority {
			t.Fatalf("%q becomes %q", s, a)
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"", "/", "/a?b", "/a?", "*", "http://b/", "/a#b", "/ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, query, ok := splitTarget(s)
		if !ok {
			return
		}
		if query == "?" {
			query = ""
		}
		if path+query != s || !strings.HasPrefix(path, "/") || strings.ContainsAny(s, " \r\n#") {
			t.Fatalf("%q splits into %q and %q", s, path, query)
		}
	})
}

func FuzzMemoryHeader(f *testing.F) {
	f.Add("ed25519="+base64.StdEncoding.EncodeToString(make([]byte, 64)), "00000000-0000-4000-8000-000000000000")
	f.Add("ed25519=AAAA; v=1", "00000000000040008000000000000000")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, header, uuid string) {
		var sig [64]byte
		if parseMemorySig(header, &sig) && !strings.HasPrefix(header, memorySigHead+base64.StdEncoding.EncodeToString(sig[:])) {
			t.Fatalf("accepted %q", header)
		}
		if n, ok := parseUUID(uuid); ok {
			if again, ok := parseUUID(strings.ToLower(uuid)); !ok || again != n {
				t.Fatalf("%q is another in lower case", uuid)
			}
		}
	})
}

func FuzzSenderAgentID(f *testing.F) {
	for _, s := range []string{"", "{}", `{"sender_agent_id":"a"}`, `{"sender_agent_id":"a","Sender_Agent_ID":"b"}`, `{"a":{"sender_agent_id":"b"}}`, `{"sender_agent_id":1}`, `[{`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, found, err := senderAgentID([]byte(s))
		if err != nil || !found {
			return
		}
		// Go's own decoder, which takes the last of several and ignores case, must agree.
		var other struct {
			SenderAgentID string `json:"sender_agent_id"`
		}
		d := json.NewDecoder(strings.NewReader(s))
		if err := d.Decode(&other); err != nil || other.SenderAgentID != id {
			t.Fatalf("%q: we read %q, another %q, %v", s, id, other.SenderAgentID, err)
		}
	})
}

func FuzzJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","nbf":1,"exp":2}],"valid_seconds":5}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA"},{"kty":"OKP","d":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := ParseJWKS(data)
		if err != nil {
			if !errors.Is(err, ErrMaterial) {
				t.Fatal(err)
			}
			return
		}
		again, err := EncodeJWKS(v)
		if err != nil {
			t.Fatalf("accepted %q, cannot encode it: %v", data, err)
		}
		w, err := ParseJWKS(again)
		if err != nil || len(w.Keys) != len(v.Keys) || w.Validity != v.Validity {
			t.Fatalf("%q is another after encoding", data)
		}
	})
}

// FuzzVerify shows that nothing but the message itself passes a whole verifier.
func FuzzVerify(f *testing.F) {
	file := newVectorFile(f, "", federationVectors(f))
	good := file.Vectors[0]
	for _, v := range file.Vectors {
		get := func(name string) string {
			for _, h := range v.Header {
				if h[0] == name {
					return h[1]
				}
			}
			return ""
		}
		body, _ := base64.StdEncoding.DecodeString(v.Body)
		f.Add(v.Method, v.Target, v.Host, get("Content-Type"), get(HeaderContentDigest), get(HeaderTo), get(HeaderOperation), get(HeaderSignatureInput), get(HeaderSignature), body)
	}
	signed := map[string]bool{} // what the sender ever signed
	for _, v := range file.Vectors {
		signed[v.signed] = true
	}
	pub := rawKeys(f, file.Keys["a"])
	keys, err := NewKeyDirectory(DirectoryConfig{Peers: []DirectoryPeer{{Name: "a", Keys: pub}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, host, contentType, digest, to, op, input, sig string, body []byte) {
		clock := func() time.Time { return time.Unix(good.Now, 0) }
		verifier, err := NewVerifier(VerifierConfig{
			Keys: keys, Recipient: Names(file.Recipients...), Clock: clock,
			Replay: forever{newReplayCache(ReplayCacheConfig{Capacity: 16, Clock: clock}), time.Time{}},
		})
		if err != nil {
			t.Fatal(err)
		}
		r := vectorRequest(t, good)
		r.Method, r.RequestURI, r.Host = method, target, host
		r.Header = http.Header{HeaderTo: {to}, HeaderOperation: {op}, HeaderSignatureInput: {input}, HeaderSignature: {sig}}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		if digest != "" {
			r.Header.Set(HeaderContentDigest, digest)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		got, err := verifier.Verify(r, From{Peer: "a"})
		if err == nil {
			path, query, found := strings.Cut(target, "?")
			if query = "?" + query; !found {
				query = "?"
			}
			base := `"@method": ` + method + "\n" + `"@authority": ` + strings.TrimSuffix(strings.ToLower(host), ":443") + "\n" +
				`"@path": ` + path + "\n" + `"@query": ` + query + "\n"
			if contentType != "" {
				base += `"content-type": ` + contentType + "\n" + `"content-digest": ` + digest + "\n"
			}
			base += `"federation-to": ` + to + "\n" + `"federation-op": ` + op + "\n" +
				`"@signature-params": ` + strings.TrimPrefix(input, "sig=")
			if !signed[base] {
				t.Fatalf("accepted, and never signed: %q; %+v", base, got)
			}
		}
		var refusal *Refusal
		if err != nil && (!errors.As(err, &refusal) || refusal.Tag == "" || refusal.Status < 400) {
			t.Fatalf("refused with %v", err)
		}
	})
}
