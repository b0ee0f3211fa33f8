package sdk_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// A source is a provider of all three roles whose material, and whose failure, the test sets. It says itself
// that something changed.
type source struct {
	mu       sync.Mutex
	roots    []*x509.Certificate
	crls     []*x509.RevocationList
	cert     *tls.Certificate
	key      signer.Key
	err      error
	watchers []func()
}

func (s *source) set(change func(*source)) {
	s.mu.Lock()
	change(s)
	watchers := s.watchers
	s.mu.Unlock()
	for _, changed := range watchers {
		changed()
	}
}

func (s *source) TrustBundle(context.Context) (*sdk.TrustBundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &sdk.TrustBundle{Roots: s.roots, CRLs: s.crls}, s.err
}

func (s *source) Identity(context.Context) (*sdk.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &sdk.Identity{Certificate: s.cert}, s.err
}

func (s *source) SigningKeys(context.Context) (*sdk.KeySet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &sdk.KeySet{Active: s.key}, s.err
}

func (s *source) Watch(ctx context.Context, changed func()) error {
	s.mu.Lock()
	s.watchers = append(s.watchers, changed)
	s.mu.Unlock()
	changed() // for what happened before
	<-ctx.Done()
	return ctx.Err()
}

// A node is one member of a test's federation, serving on loopback.
type node struct {
	name     string
	listener net.Listener
	trust    *source
	identity *source
	key      *source
	fed      *sdk.Federation
	server   *http.Server

	mu     sync.Mutex
	events []sdk.Event
	told   chan struct{} // signalled when an event arrives
}

func (n *node) url() string { return "https://" + n.listener.Addr().String() }

func (n *node) onEvent(e sdk.Event) {
	n.mu.Lock()
	n.events = append(n.events, e)
	n.mu.Unlock()
	select {
	case n.told <- struct{}{}:
	default:
	}
}

// waitEvent waits until an event matches.
func (n *node) waitEvent(t *testing.T, what string, match func(sdk.Event) bool) sdk.Event {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for seen := 0; ; {
		n.mu.Lock()
		for ; seen < len(n.events); seen++ {
			if e := n.events[seen]; match(e) {
				n.mu.Unlock()
				return e
			}
		}
		n.mu.Unlock()
		select {
		case <-n.told:
		case <-deadline:
			n.mu.Lock()
			defer n.mu.Unlock()
			t.Fatalf("%s: no event %s; got %v", n.name, what, n.events)
		}
	}
}

// pull makes the node ask its providers now. Twice, since the first may join a pull that began earlier.
func (n *node) pull(t *testing.T) {
	t.Helper()
	for range 2 {
		if err := n.fed.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// waitChange waits until a generation of a role's material is in service.
func (n *node) waitChange(t *testing.T, role sdk.Role, generation uint64) {
	t.Helper()
	n.waitEvent(t, "changed", func(e sdk.Event) bool {
		return e.Kind == sdk.EventChanged && e.Role == role && e.Generation == generation
	})
}

// A mesh is a number of nodes that are each other's peers.
type mesh struct {
	ca    *sdktest.CA
	nodes []*node
}

// newMesh starts nodes named a, b, c, …; change may alter what each is built from.
func newMesh(t *testing.T, count int, h http.Handler, change func(n *node, b *sdk.Builder)) *mesh {
	t.Helper()
	m := &mesh{ca: sdktest.NewCA(t)}
	for i := range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n := &node{name: string(rune('a' + i)), listener: l, told: make(chan struct{}, 1)}
		n.trust = &source{roots: []*x509.Certificate{m.ca.Certificate}}
		n.identity = &source{cert: m.issue(t, n.name).TLS}
		key, err := signer.KeyOf(sdktest.Ed25519(t))
		if err != nil {
			t.Fatal(err)
		}
		n.key = &source{key: key}
		m.nodes = append(m.nodes, n)
	}
	for _, n := range m.nodes {
		b := sdk.Builder{
			Trust: n.trust, Identity: n.identity, Key: n.key,
			Quorum:  quorum.Policy{Writes: quorum.Majority},
			OnEvent: n.onEvent,
		}
		b.Transport.ConnectTimeout = 20 * time.Second // a busy machine is not what is tested
		for _, p := range m.nodes {
			if p != n {
				b.Peers = append(b.Peers, sdk.Peer{Name: p.name, URL: p.url(), ServerName: p.name + ".example"})
			}
		}
		if change != nil {
			change(n, &b)
		}
		fed, err := b.Build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n.fed = fed
		mux := http.NewServeMux()
		mux.Handle("GET "+signer.DirectoryPath, fed.KeyDirectory())
		mux.Handle("/", fed.Verify(h))
		n.server = fed.Server(mux)
		go n.server.ServeTLS(n.listener, "", "")
		t.Cleanup(func() {
			n.server.Close()
			if err := fed.Close(); err != nil {
				t.Errorf("close %s: %v", n.name, err)
			}
		})
	}
	return m
}

func (m *mesh) issue(t *testing.T, name string) *sdktest.Issued {
	t.Helper()
	return m.ca.Issue(t, sdktest.Leaf{DNS: []string{name + ".example"}})
}

// echo answers with the name of the peer that the request came from.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, _ := sdk.PeerFrom(r.Context())
	w.Header().Set("X-From", p.Name)
	w.WriteHeader(http.StatusOK)
})

func certs(c ...*x509.Certificate) []*x509.Certificate { return c }

var serverOnly = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}

func keysOf(keys ...signer.Key) (out []crypto.PublicKey) {
	for _, k := range keys {
		out = append(out, k.Public())
	}
	return out
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func statusText(s sdk.Status) string { return fmt.Sprintf("%+v", s) }
