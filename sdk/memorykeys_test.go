package sdk_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/signer"
)

func TestRotationsOnTheMemoryWireRefuseNothing(t *testing.T) {
	m := newMesh(t, 2, echo, func(_ *node, b *sdk.Builder) { b.Peers[0].Wire = signer.WireAIMemory })
	a, b := m.nodes[0], m.nodes[1]
	for i := range 4 { // more in a second are not asked for
		if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("after %d rotations: %v, refused as %q", i, err, signer.RefusalOf(resp))
		}
		key := newKey(t)
		a.key.set(func(s *source) { s.key = key })
		a.waitChange(t, sdk.RoleKey, uint64(i+2))
	}
}

func TestPlaintextPeersOnTheMemoryWireAreToldApart(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	plain := func(bu *sdk.Builder) { bu.AllowPlaintext = true }
	keys := []signer.Key{a.key.key, newKey(t)}
	var peers []sdk.Peer
	for i, k := range keys {
		peers = append(peers, sdk.Peer{Name: fmt.Sprint("p", i), URL: fmt.Sprint("http://127.0.0.1:", i+1), Keys: keysOf(k), Wire: signer.WireAIMemory})
	}
	fedB := b.build(t, plain, peers...)
	srv := httptest.NewServer(fedB.Verify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p, _ := sdk.PeerFrom(r.Context())
		fmt.Fprint(w, p.Name, " ", string(body))
	})))
	defer srv.Close()
	for i, k := range append(keys, newKey(t)) {
		fed := a.build(t, func(bu *sdk.Builder) { plain(bu); bu.Key = &source{key: k} }, sdk.Peer{ID: "b.example", URL: srv.URL, Wire: signer.WireAIMemory})
		resp, err := fed.Client().Post(srv.URL+"/x", "application/json", strings.NewReader(`{"n":1}`))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprint("p", i, ` {"n":1}`); i < len(keys) && (err != nil || string(body) != want) {
			t.Errorf("got %q, %v, want %q", body, err, want)
		}
		if i == len(keys) && signer.RefusalOf(resp) != signer.TagMemorySig {
			t.Errorf("a stranger's key: status %d, %q", resp.StatusCode, body)
		}
	}
}
