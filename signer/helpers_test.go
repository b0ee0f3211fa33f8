package signer_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/signer"
)

// node is one side of a conversation in a test: peer "a" signs for "b.example".
type node struct {
	key      signer.Key
	signer   *signer.Signer
	verifier *signer.Verifier
	now      time.Time
}

// start is a whole second, long after the verifier of newNode has begun.
var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func newNode(t testing.TB, change ...func(*signer.Config, *signer.VerifierConfig)) *node {
	t.Helper()
	n := &node{key: testKey(t, 1), now: start.Add(-time.Hour)}
	clock := func() time.Time { return n.now }
	sc := signer.Config{Key: n.key, PeerID: "agent-a", Clock: clock}
	vc := signer.VerifierConfig{
		Keys:      directory(t, signer.DirectoryPeer{Name: "a", Keys: []crypto.PublicKey{n.key.Public()}}),
		Recipient: signer.Names("b.example"),
		Clock:     clock,
	}
	for _, f := range change {
		f(&sc, &vc)
	}
	var err error
	if n.signer, err = signer.New(sc); err != nil {
		t.Fatal(err)
	}
	if n.verifier, err = signer.NewVerifier(vc); err != nil {
		t.Fatal(err)
	}
	n.now = start
	return n
}

func directory(t testing.TB, peers ...signer.DirectoryPeer) *signer.KeyDirectory {
	t.Helper()
	d, err := signer.NewKeyDirectory(signer.DirectoryConfig{Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

const pushURL = "https://b.example/api/v1/sync/push?a=1"

func post(t testing.TB, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pushURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return req
}

// signed is a signed POST of body, as the server receives it.
func (n *node) signed(t testing.TB, body string) *http.Request {
	t.Helper()
	req := post(t, body)
	if err := n.signer.Sign(req, signer.Audience{To: "b.example", Operation: "op-1"}); err != nil {
		t.Fatal(err)
	}
	return received(t, req)
}

// received makes of a client's request what a server sees of it.
func received(t testing.TB, req *http.Request) *http.Request {
	t.Helper()
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			t.Fatal(err)
		}
	}
	r := httptest.NewRequest(req.Method, req.URL.String(), bytes.NewReader(body))
	if len(body) == 0 {
		r.Body = http.NoBody
	}
	r.Header = req.Header.Clone()
	if req.Host != "" {
		r.Host = req.Host
	}
	r.RequestURI = req.URL.RequestURI()
	return r.WithContext(t.Context())
}

// again is a copy of a received request that can be verified once more.
func again(t testing.TB, r *http.Request, body string) *http.Request {
	t.Helper()
	c := r.Clone(r.Context())
	c.Body = io.NopCloser(strings.NewReader(body))
	if body == "" {
		c.Body = http.NoBody
	}
	return c
}

func tagOf(t testing.TB, err error) signer.Tag {
	t.Helper()
	if err == nil {
		return ""
	}
	r, ok := err.(*signer.Refusal) //nolint:errorlint // Verify returns nothing else
	if !ok {
		t.Fatalf("got %T %v, want *Refusal", err, err)
	}
	return r.Tag
}

func privateKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}
