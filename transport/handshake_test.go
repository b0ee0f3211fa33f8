package transport_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A stage is a point of a handshake.
type stage string

const (
	unverified stage = "before the other side is verified" // the hello is sent, the answer is not read
	verified   stage = "after it, before the certificate is sent"
)

// A gate holds one connection in the middle of its handshake: the one that comes after skip others.
type gate struct {
	stage   stage
	skip    atomic.Int64
	reached chan struct{} // closed when the handshake is there
	pass    chan struct{} // closed to let it go on
}

func newGate(s stage, skip int64) *gate {
	g := &gate{stage: s, reached: make(chan struct{}), pass: make(chan struct{})}
	g.skip.Store(skip)
	return g
}

func (g *gate) wrap(c net.Conn) net.Conn {
	if g.skip.Add(-1) != -1 {
		return c
	}
	return &held{Conn: c, gate: g}
}

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return g.wrap(c), nil
}

func (g *gate) wait(t *testing.T) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(patient):
		t.Fatal("no handshake is under way")
	}
}

type held struct {
	net.Conn
	gate          *gate
	once          sync.Once
	reads, writes atomic.Int64
}

func (h *held) hold() {
	h.once.Do(func() {
		close(h.gate.reached)
		<-h.gate.pass
	})
}

func (h *held) Read(b []byte) (int, error) {
	if h.gate.stage == unverified && h.writes.Load() > 0 {
		h.hold()
	}
	n, err := h.Conn.Read(b)
	h.reads.Add(1)
	return n, err
}

func (h *held) Write(b []byte) (int, error) {
	if h.gate.stage == verified && h.reads.Load() > 0 {
		h.hold()
	}
	n, err := h.Conn.Write(b)
	h.writes.Add(1)
	return n, err
}

type gatedListener struct {
	net.Listener
	gate *gate
}

func (l gatedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.gate.wrap(c), nil
}

// An answered is what became of a request.
type answered struct {
	header http.Header
	err    error
}

func sending(t *testing.T, from, to *node) <-chan answered {
	done := make(chan answered, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	go func() {
		defer cancel()
		_, h, err := send(ctx, from, to, "x")
		done <- answered{h, err}
	}()
	return done
}

func serial(c *tls.Certificate) string { return c.Leaf.SerialNumber.String() }

// wantIdentity sends requests and holds that each bears the certificate.
func wantIdentity(t *testing.T, from, to *node, id *tls.Certificate) {
	t.Helper()
	for range 5 {
		if got := mustSend(t, from, to, "x").Get("X-Serial"); got != serial(id) {
			t.Fatalf("a request bears %s, want %s", got, serial(id))
		}
	}
}

// wantOnlyNew waits until nothing of an older generation is left at either end.
func wantOnlyNew(t *testing.T, from, to *node) {
	t.Helper()
	eventually(t, "the older generation is gone, and its connections", func() bool {
		st := peerStats(t, from.tr, to.name)
		return from.tr.Stats().Draining == 0 && st.Open[transport.Quorum] == to.tr.Stats().Inbound && st.InFlight == [2]int{}
	})
}

// gatedPair is a and b, whose first connection but skip waits in its handshake, at a's end.
func gatedPair(t *testing.T, p transport.Protocol, s stage, skip int64) (a, b *node, g *gate, m transport.Material, ca *sdktest.CA) {
	t.Helper()
	ca, g = sdktest.NewCA(t), newGate(s, skip)
	a = newNode(t, "a", transport.Options{Protocol: p, Dial: g.dial}, nil)
	b = newNode(t, "b", transport.Options{}, nil)
	m = transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
	update(t, a.tr, m)
	update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
	return a, b, g, m, ca
}

func stages(t *testing.T, f func(t *testing.T, p transport.Protocol, s stage)) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		for _, s := range []stage{unverified, verified} {
			t.Run(string(s), func(t *testing.T) { f(t, p, s) })
		}
	})
}

// The request that waits for the handshake gets its answer, on the identity it began with; no other request does.
func TestAnIdentityThatChangesDuringAHandshake(t *testing.T) {
	stages(t, func(t *testing.T, p transport.Protocol, s stage) {
		a, b, g, m, ca := gatedPair(t, p, s, 0)
		first := sending(t, a, b)
		g.wait(t)
		old := m.Identity
		m.Identity = a.issue(t, ca)
		update(t, a.tr, m)
		wantIdentity(t, a, b, m.Identity) // while the old handshake is still there
		close(g.pass)
		got := <-first
		if got.err != nil || got.header.Get("X-Serial") != serial(old) {
			t.Errorf("the request that waited: %v, bearing %s, want %s", got.err, got.header.Get("X-Serial"), serial(old))
		}
		wantIdentity(t, a, b, m.Identity)
		wantOnlyNew(t, a, b)
	})
}

// Warm has no request that waits: what it was about to bring is of no use to anybody.
func TestAnIdentityThatChangesWhileWarming(t *testing.T) {
	stages(t, func(t *testing.T, p transport.Protocol, s stage) {
		a, b, g, m, ca := gatedPair(t, p, s, 0)
		warmed := make(chan error, 1)
		go func() { warmed <- a.tr.Warm(context.Background()) }()
		g.wait(t)
		m.Identity = a.issue(t, ca)
		update(t, a.tr, m)
		close(g.pass)
		if err := <-warmed; err != nil && transport.KindOf(err) != transport.KindClosed {
			t.Logf("warming, overtaken: %v", err)
		}
		wantIdentity(t, a, b, m.Identity)
		wantOnlyNew(t, a, b)
	})
}

// The connections of the next identity are being made when one more comes, or when the root of the peer goes.
func TestAChangeDuringTheHandshakesOfANewIdentity(t *testing.T) {
	stages(t, func(t *testing.T, p transport.Protocol, s stage) {
		for _, change := range []string{"another identity", "other roots"} {
			t.Run(change, func(t *testing.T) {
				a, b, g, m, ca := gatedPair(t, p, s, 1)
				wantIdentity(t, a, b, m.Identity)
				second := m
				second.Identity = a.issue(t, ca)
				updated := make(chan error, 1)
				go func() { updated <- a.tr.Update(context.Background(), second) }()
				g.wait(t)
				third := second
				if change == "other roots" {
					third.Trust = trust(sdktest.NewCA(t))
				} else {
					third.Identity = a.issue(t, ca)
				}
				update(t, a.tr, third)
				close(g.pass)
				if err := <-updated; err != nil {
					t.Errorf("the update that was overtaken: %v", err)
				}
				if change == "another identity" {
					wantIdentity(t, a, b, third.Identity)
					wantOnlyNew(t, a, b)
					return
				}
				_, _, err := send(t.Context(), a, b, "x")
				wantKind(t, err, transport.KindRefused)
				eventually(t, "nothing is left", func() bool {
					return a.tr.Stats().Draining == 0 && b.tr.Stats().Inbound == 0 && peerStats(t, a.tr, "b").Open == [2]int{}
				})
			})
		}
	})
}

// No request goes out on a connection whose handshake began under a root that is gone.
func TestARootThatGoesDuringAHandshake(t *testing.T) {
	stages(t, func(t *testing.T, p transport.Protocol, s stage) {
		a, b, g, m, ca := gatedPair(t, p, s, 0)
		first := sending(t, a, b)
		g.wait(t)
		m.Trust = trust(sdktest.NewCA(t))
		update(t, a.tr, m)
		if cut := a.tr.Stats().Cut; (cut == 1) != (s == verified) {
			t.Errorf("%d connections cut", cut)
		}
		close(g.pass)
		if got := <-first; got.err == nil || !transport.Unsent(got.err) {
			t.Errorf("the request that waited: %v, want it refused and unsent", got.err)
		} else if k := transport.KindOf(got.err); k != transport.KindRefused && k != transport.KindCut {
			t.Errorf("the request that waited: kind %v: %v", k, got.err)
		}
		if n := b.hits.Load(); n != 0 {
			t.Errorf("%d requests arrived", n)
		}
		// It was this root alone: with it, all is well.
		m.Trust = trust(ca)
		update(t, a.tr, m)
		mustSend(t, a, b, "x")
	})
}

// A root that joins, or goes without being needed, disturbs no handshake.
func TestRootsThatDoNotMatterDuringAHandshake(t *testing.T) {
	other := sdktest.NewCA(t)
	stages(t, func(t *testing.T, p transport.Protocol, s stage) {
		a, b, g, m, ca := gatedPair(t, p, s, 0)
		first := sending(t, a, b)
		g.wait(t)
		for _, tr := range []*transport.Trust{trust(ca, other), trust(ca)} {
			m.Trust = tr
			update(t, a.tr, m)
		}
		close(g.pass)
		if got := <-first; got.err != nil {
			t.Errorf("the request that waited: %v", got.err)
		}
		mustSend(t, a, b, "x")
		if n := peerStats(t, a.tr, "b").Handshakes; n != 1 {
			t.Errorf("%d handshakes, want the one", n)
		}
	})
}

// The same at the other end: a server in the middle of a handshake, its certificate chosen and the client's not seen.
func TestChangesDuringAServersHandshake(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		for _, change := range []string{"the client's root goes", "the peer goes", "the client is revoked", "another identity", "a root joins"} {
			t.Run(change, func(t *testing.T) {
				ca, g := sdktest.NewCA(t), newGate(unverified, 0)
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				a := newNode(t, "a", transport.Options{Protocol: p}, nil)
				b := newNodeAt(t, "b", gatedListener{l, g}, transport.Options{})
				id := ca.Issue(t, sdktest.Leaf{DNS: []string{a.host()}})
				m := transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}}
				old := m.Identity
				update(t, b.tr, m)
				update(t, a.tr, transport.Material{Identity: id.TLS, Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
				first := sending(t, a, b)
				g.wait(t)
				refused := true
				switch change {
				case "the client's root goes":
					m.Trust = trust(sdktest.NewCA(t))
				case "the peer goes":
					m.Peers = []transport.Peer{{URL: "https://c.example"}}
				case "the client is revoked":
					m.Trust = trust(ca)
					m.Trust.CRLs = append(m.Trust.CRLs, ca.CRL(t, sdktest.CRLOptions{Revoked: certs(id.Leaf)}))
				case "another identity":
					m.Identity, refused = b.issue(t, ca), false
				case "a root joins":
					m.Trust, refused = trust(ca, sdktest.NewCA(t)), false
				}
				update(t, b.tr, m)
				close(g.pass)
				got := <-first
				if refused {
					if got.err == nil {
						t.Error("the request that waited was answered")
					}
					if n := b.hits.Load(); n != 0 {
						t.Errorf("%d requests arrived", n)
					}
					eventually(t, "no connection is left", func() bool { return b.tr.Stats().Inbound == 0 })
					if n := b.events.count(transport.EventRefused); n == 0 {
						t.Error("no event tells of it")
					}
					return
				}
				if got.err != nil {
					t.Fatalf("the request that waited: %v", got.err)
				}
				c, err := a.tr.Dial(t.Context(), "b", "http/1.1")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if got := c.ConnectionState().PeerCertificates[0].SerialNumber.String(); got != serial(m.Identity) {
					t.Errorf("a new connection is shown %s, want %s (before: %s)", got, serial(m.Identity), serial(old))
				}
			})
		}
	})
}
