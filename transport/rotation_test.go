package transport_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// Rotations of both sides' certificates and of the roots, while requests run: none fails, and after the first
// ones none waits for a handshake.
func TestRotationUnderLoadFailsNoRequest(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca, other := sdktest.NewCA(t), sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p}, nil)
		b := newNode(t, "b", transport.Options{}, nil)
		am := transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
		bm := transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}}
		update(t, a.tr, am)
		update(t, b.tr, bm)

		stop := make(chan struct{})
		var wg sync.WaitGroup
		var sent, failed atomic.Int64
		for range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, _, err := send(context.WithoutCancel(t.Context()), a, b, "hello"); err != nil {
						failed.Add(1)
						t.Error(err)
						return
					}
					sent.Add(1)
				}
			}()
		}
		eventually(t, "the first requests", func() bool { return sent.Load() > 50 })
		cold := peerStats(t, a.tr, "b").Cold
		for i := range 12 {
			switch i % 3 {
			case 0:
				am.Identity = a.issue(t, ca)
			case 1:
				bm.Identity = b.issue(t, ca)
			case 2:
				if len(am.Trust.Roots) == 1 {
					am.Trust, bm.Trust = trust(ca, other), trust(other, ca)
				} else {
					am.Trust, bm.Trust = trust(ca), trust(ca)
				}
			}
			update(t, a.tr, am)
			update(t, b.tr, bm)
			at := sent.Load()
			eventually(t, "requests after a rotation", func() bool { return sent.Load() > at+20 || failed.Load() > 0 })
		}
		close(stop)
		wg.Wait()
		st := a.tr.Stats()
		if st.Generation != 5 || st.Cut != 0 {
			t.Errorf("generation %d and %d cut, want 5 and 0", st.Generation, st.Cut)
		}
		// A burst may want a connection more than the generation before had; each rotation at most that.
		if now := peerStats(t, a.tr, "b").Cold; now > cold+4 {
			t.Errorf("%d requests waited for a handshake across four rotations", now-cold)
		}
		eventually(t, "older generations drained", func() bool { return a.tr.Stats().Draining == 0 })
	})
}

func TestNewRequestsBearTheNewIdentityAtOnce(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p}, nil)
		b := newNode(t, "b", transport.Options{}, nil)
		join(t, ca, a, b)
		for range 3 {
			id := a.issue(t, ca)
			update(t, a.tr, transport.Material{Identity: id, Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
			if got, want := mustSend(t, a, b, "x").Get("X-Serial"), id.Leaf.SerialNumber.String(); got != want {
				t.Errorf("request after Update bore certificate %s, want %s", got, want)
			}
		}
		if st := peerStats(t, a.tr, "b"); st.Cold != 1 || st.Warm != 2 || st.Warmed != 2 {
			t.Errorf("stats %+v, want the first request cold and the first of both later identities warm", st)
		}
	})
}

func TestAnExchangeInFlightEndsOnTheIdentityItBeganWith(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		release := make(chan struct{})
		a := newNode(t, "a", transport.Options{Protocol: p}, nil)
		b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "begin ")
			_ = http.NewResponseController(w).Flush()
			<-release
			_, _ = io.WriteString(w, "end")
		}))
		join(t, ca, a, b)
		resp, err := a.tr.RoundTrip(request(t, t.Context(), http.MethodGet, b, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
		if st := a.tr.Stats(); st.Draining != 1 || st.Generation != 2 {
			t.Errorf("draining %d, generation %d, want 1 and 2", st.Draining, st.Generation)
		}
		close(release)
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != "begin end" {
			t.Errorf("got %q, %v", got, err)
		}
		eventually(t, "drained", func() bool { return a.tr.Stats().Draining == 0 && a.events.count(transport.EventDrained) == 1 })
	})
}

func TestDrainingEndsAtItsDeadline(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{DrainTimeout: 50 * time.Millisecond}, nil)
	b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	join(t, ca, a, b)
	resp, err := a.tr.RoundTrip(request(t, t.Context(), http.MethodGet, b, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	_, err = io.ReadAll(resp.Body)
	wantKind(t, err, transport.KindClosed)
	eventually(t, "drained", func() bool { return a.tr.Stats().Draining == 0 })
}

func TestASilentPeerDoesNotHoldUpARotation(t *testing.T) {
	ca := sdktest.NewCA(t)
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	var once atomic.Bool
	a := newNode(t, "a", transport.Options{WarmTimeout: 50 * time.Millisecond, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if once.Swap(true) {
			addr = hole.Addr().String() // accepts, and says nothing
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	mustSend(t, a, b, "x")
	began := time.Now()
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	if d := time.Since(began); d > patient/2 {
		t.Errorf("Update took %v", d)
	}
	if g := a.tr.Stats().Generation; g != 2 {
		t.Errorf("generation %d, want 2", g)
	}
}

func TestTheSameIdentityIsNoRotation(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	m := transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
	update(t, a.tr, m)
	mustSend(t, a, b, "x")
	again := *m.Identity // another handle of the same
	m.Identity = &again
	update(t, a.tr, m)
	mustSend(t, a, b, "x")
	if st := a.tr.Stats(); st.Generation != 2 || st.Snapshot != 3 {
		t.Errorf("generation %d, snapshot %d, want 2 and 3", st.Generation, st.Snapshot)
	}
	if st := peerStats(t, a.tr, "b"); st.Handshakes != 1 {
		t.Errorf("%d handshakes, want 1", st.Handshakes)
	}
}

func TestConcurrentUpdatesLeaveTheLastOneInForce(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	mustSend(t, a, b, "x")
	var wg sync.WaitGroup
	for range 8 {
		m := transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := a.tr.Update(context.Background(), m); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if g := a.tr.Stats().Generation; g != 9 {
		t.Errorf("generation %d serves, want the last, 9", g)
	}
	mustSend(t, a, b, "x")
	eventually(t, "drained", func() bool { return a.tr.Stats().Draining == 0 })
}

func TestASessionIsNeverResumedAcrossIdentities(t *testing.T) {
	ca := sdktest.NewCA(t)
	opts := transport.Options{Resumption: true, IdleTimeout: 40 * time.Millisecond}
	a := newNode(t, "a", opts, nil)
	b := newNode(t, "b", transport.Options{Resumption: true}, nil)
	join(t, ca, a, b)
	again := func() transport.PeerStats { // a request on a new connection
		mustSend(t, a, b, "x")
		eventually(t, "idle connections closed", func() bool { return peerStats(t, a.tr, "b").Open[transport.Quorum] == 0 })
		return peerStats(t, a.tr, "b")
	}
	again()
	if st := again(); st.Resumed != 1 {
		t.Fatalf("%d sessions resumed within one identity, want 1: the test would prove nothing", st.Resumed)
	}
	// the client's identity changes
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	if st := again(); st.Resumed != 1 {
		t.Errorf("a session was resumed by a later identity of the client")
	}
	before := again().Resumed
	// the server's identity changes
	update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
	if st := again(); st.Resumed != before {
		t.Errorf("a session was resumed by a later identity of the server")
	}
}

func TestARevokedClientDoesNotComeBackByResumption(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{Resumption: true, IdleTimeout: 40 * time.Millisecond}, nil)
	b := newNode(t, "b", transport.Options{Resumption: true}, nil)
	id := ca.Issue(t, sdktest.Leaf{DNS: []string{a.host()}})
	update(t, a.tr, transport.Material{Identity: id.TLS, Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	bm := transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}}
	update(t, b.tr, bm)
	mustSend(t, a, b, "x")
	eventually(t, "idle connections closed", func() bool { return peerStats(t, a.tr, "b").Open[transport.Quorum] == 0 })
	bm.Trust = trust(ca)
	bm.Trust.CRLs = append(bm.Trust.CRLs, ca.CRL(t, sdktest.CRLOptions{Revoked: certs(id.Leaf)}))
	update(t, b.tr, bm)
	if _, _, err := send(t.Context(), a, b, "x"); err == nil {
		t.Error("a revoked client was served")
	}
}

func TestServersFollowTheIdentity(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	for range 2 {
		id := b.issue(t, ca)
		update(t, b.tr, transport.Material{Identity: id, Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
		c, err := a.tr.Dial(t.Context(), "b", "h2", "http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		cs := c.ConnectionState()
		if cs.PeerCertificates[0].SerialNumber.Cmp(id.Leaf.SerialNumber) != 0 {
			t.Error("the server showed an older certificate")
		}
		if cs.NegotiatedProtocol != "h2" || cs.Version != tls.VersionTLS13 || cs.CurveID != tls.X25519MLKEM768 {
			t.Errorf("negotiated %q, version %x, group %v", cs.NegotiatedProtocol, cs.Version, cs.CurveID)
		}
		_ = c.Close()
	}
}

func request(t testing.TB, ctx context.Context, method string, to *node, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+to.addr+"/x", body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// A dial that began with a certificate whose root is gone by the time that it arrives fails, and the request goes
// out with the certificate that serves by then.
func TestADialOvertakenByARotationFailsNoRequest(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		for name, op := range map[string]string{"with an operation id": "op", "without": ""} {
			t.Run(name, func(t *testing.T) {
				old, next := sdktest.NewCA(t), sdktest.NewCA(t)
				dialing, goOn := make(chan struct{}), make(chan struct{})
				var once sync.Once
				a := newNode(t, "a", transport.Options{Protocol: p, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					once.Do(func() {
						close(dialing)
						<-goOn
					})
					return new(net.Dialer).DialContext(ctx, network, addr)
				}}, nil)
				b := newNode(t, "b", transport.Options{}, nil)
				am := transport.Material{Identity: a.issue(t, old), Trust: trust(old, next), Peers: []transport.Peer{b.peer()}}
				bm := transport.Material{Identity: b.issue(t, next), Trust: trust(old, next), Peers: []transport.Peer{a.peer()}}
				update(t, a.tr, am)
				update(t, b.tr, bm)
				ended := make(chan error, 1)
				go func() {
					ctx := t.Context()
					if op != "" {
						ctx = transport.WithOperation(ctx, op)
					}
					_, _, err := send(ctx, a, b, "hello")
					ended <- err
				}()
				<-dialing
				am.Identity = a.issue(t, next)
				update(t, a.tr, am)
				bm.Trust = trust(next)
				update(t, b.tr, bm)
				close(goOn)
				if err := wantEnd(t, ended); err != nil {
					t.Errorf("the request failed: %v", err)
				}
				if n := b.events.count(transport.EventRefused); n == 0 {
					t.Error("the old certificate was not refused: the test shows nothing")
				}
			})
		}
	})
}
