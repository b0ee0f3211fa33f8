package sdk_test

import (
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A key that loads and cannot sign under this node's name is no key, and Check says why.
func TestCheckSaysWhyAKeyThatLoadedIsNotUsed(t *testing.T) {
	ca := sdktest.NewCA(t)
	long := "spiffe://x.example/" + strings.Repeat("n", 3000) // more than a signature can name
	key := &source{key: newKey(t), err: sdk.ErrNotFound}
	n := &node{name: "a", told: make(chan struct{}, 1)}
	fed, err := sdk.Builder{
		Trust:    &source{roots: certs(ca.Certificate)},
		Identity: &source{cert: ca.Issue(t, sdktest.Leaf{URIs: []string{long}}).TLS},
		Key:      key, Signing: sdk.SignPreferred,
		Peers:   []sdk.Peer{{URL: "https://127.0.0.1:1"}},
		Quorum:  quorum.Policy{Writes: 1},
		OnEvent: n.onEvent,
	}.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer fed.Close()
	key.set(func(s *source) { s.err = nil })
	n.waitEvent(t, "refused", func(e sdk.Event) bool { return e.Kind == sdk.EventRefused && e.Role == sdk.RoleKey })
	if err := fed.Refresh(t.Context()); err != nil { // it loads
		t.Fatal(err)
	}
	for _, w := range fed.Check(t.Context()).Warnings {
		if w.Field == "Key" {
			if text := w.Err.Error(); !strings.Contains(text, "PeerID") || strings.Contains(text, "%!") {
				t.Errorf("the warning says %s", text)
			}
			return
		}
	}
	t.Error("no warning of the key")
}
