package sdk_test

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// What was confirmed while the provider was down holds for that bundle alone, and only until another comes.
func TestAConfirmationEndsWithTheNextOtherBundle(t *testing.T) {
	for _, between := range []bool{false, true} {
		m := newMesh(t, 2, echo, nil)
		a, other := m.nodes[0], sdktest.NewCA(t, sdktest.CAOptions{Name: "other"})
		a.trust.set(func(s *source) { s.roots = certs(other.Certificate) })
		a.pull(t)
		a.trust.set(func(s *source) { s.err = sdk.ErrUnavailable })
		a.waitEvent(t, "failed", func(e sdk.Event) bool { return e.Kind == sdk.EventFailed })
		if err := a.fed.Confirm(t.Context(), ""); !errors.Is(err, sdk.ErrUnavailable) {
			t.Fatalf("confirmed with the provider down: %v, want ErrUnavailable", err)
		}
		if between {
			a.trust.set(func(s *source) { s.err, s.roots = nil, certs(m.ca.Certificate) })
			a.pull(t)
		}
		a.trust.set(func(s *source) { s.err, s.roots = nil, certs(other.Certificate) })
		a.pull(t)
		if _, err := post(t, a, m.nodes[1], "x"); (err == nil) != between {
			t.Errorf("another bundle came first: %v; reaching a peer under the old root: %v", between, err)
		}
		if held := a.fed.Status().Held; (len(held) == 1) != between {
			t.Errorf("another bundle came first: %v; held %+v", between, held)
		}
	}
}

// A gate is a listener that can keep connections waiting.
type gate struct {
	net.Listener
	mu   sync.Mutex
	shut chan struct{} // nil: open
	came chan struct{} // signalled when a connection waits
}

func (g *gate) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if err == nil && shut != nil {
		select {
		case g.came <- struct{}{}:
		default:
		}
		<-shut
	}
	return c, err
}

// Confirm applies the change even if it comes while a pull is under way that looked for it before.
func TestConfirmDuringAPullTakesEffect(t *testing.T) {
	extra := sdktest.NewCA(t, sdktest.CAOptions{Name: "extra"})
	g := &gate{came: make(chan struct{}, 1)}
	m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
		n.trust.roots = append(n.trust.roots, extra.Certificate)
		b.HoldRemoval = time.Hour
		if n.name == "b" {
			g.Listener = n.listener
			n.listener = g
		}
	})
	a, b := m.nodes[0], m.nodes[1]
	if _, err := post(t, a, b, "x"); err != nil {
		t.Fatal(err)
	}
	a.trust.set(func(s *source) { s.roots = certs(extra.Certificate) })
	a.pull(t)
	held := a.fed.Status().Held
	if len(held) != 1 {
		t.Fatalf("held %+v, want the removal", held)
	}
	open := make(chan struct{})
	release := sync.OnceFunc(func() { close(open) })
	defer release()
	g.mu.Lock()
	g.shut = open
	g.mu.Unlock()
	pulled, confirmed := make(chan error, 1), make(chan error, 1)
	go func() { pulled <- a.fed.Refresh(t.Context()) }()
	<-g.came // the pull asks b for its certificate
	go func() { confirmed <- a.fed.Confirm(t.Context(), held[0].ID) }()
	a.waitEvent(t, "confirmed", func(e sdk.Event) bool { return e.Kind == sdk.EventConfirmed })
	g.mu.Lock()
	g.shut = nil
	g.mu.Unlock()
	release()
	if err := errors.Join(<-confirmed, <-pulled); err != nil {
		t.Fatal(err)
	}
	if held := a.fed.Status().Held; len(held) != 0 {
		t.Errorf("confirmed, and still held: %+v", held)
	}
	if _, err := post(t, a, b, "x"); err == nil {
		t.Error("confirmed, and the removal is not in service")
	}
}

func TestNothingIsHeldForAPeerThatIsGone(t *testing.T) {
	other := sdktest.NewCA(t, sdktest.CAOptions{Name: "other"})
	own := &source{}
	m := newMesh(t, 3, echo, func(n *node, b *sdk.Builder) {
		b.Quorum.Writes = 1
		if n.name == "a" {
			own.roots = n.trust.roots
			b.Peers[1].Trust = own
		}
	})
	a := m.nodes[0]
	own.set(func(s *source) { s.roots = certs(other.Certificate) })
	a.pull(t)
	if held := a.fed.Status().Held; len(held) != 1 || held[0].Peer != "c" {
		t.Fatalf("held %+v, want the removal of c's root", held)
	}
	if err := a.fed.SetPeers(t.Context(), a.fed.Peers()[:1]); err != nil {
		t.Fatal(err)
	}
	if held := a.fed.Status().Held; len(held) != 0 {
		t.Errorf("held for a peer that is gone: %+v", held)
	}
	if err := a.fed.Confirm(t.Context(), ""); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("confirming it: %v, want ErrNotFound", err)
	}
}

// What is held says whom it would cut off now, and keeps its deadline.
func TestAHeldRemovalSaysWhoWouldBeLostNow(t *testing.T) {
	extra := sdktest.NewCA(t, sdktest.CAOptions{Name: "extra"})
	m := newMesh(t, 3, echo, func(n *node, b *sdk.Builder) {
		n.trust.roots = append(n.trust.roots, extra.Certificate)
		b.HoldRemoval = time.Hour
		b.Quorum.Writes = 3
	})
	a := m.nodes[0]
	if _, err := post(t, a, m.nodes[1], "x"); err != nil {
		t.Fatal(err)
	}
	a.trust.set(func(s *source) { s.roots = certs(extra.Certificate) })
	a.pull(t)
	before := a.fed.Status().Held
	if len(before) != 1 || !slices.Equal(before[0].Lost, []string{"b"}) {
		t.Fatalf("held %+v, want b to be lost", before)
	}
	if _, err := post(t, a, m.nodes[2], "x"); err != nil {
		t.Fatal(err)
	}
	a.pull(t)
	now := a.fed.Status().Held
	if len(now) != 1 || !slices.Equal(now[0].Lost, []string{"b", "c"}) || now[0].Reason == before[0].Reason {
		t.Fatalf("held %+v, want b and c to be lost", now)
	}
	if now[0].ID != before[0].ID || !now[0].Since.Equal(before[0].Since) || !now[0].Deadline.Equal(before[0].Deadline) {
		t.Errorf("it became another: %+v, then %+v", before[0], now[0])
	}
}
