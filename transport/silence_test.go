package transport_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A blackhole is a dialer whose connections can be made to lose everything, both ways, without an end.
type blackhole struct {
	under func(ctx context.Context, network, addr string) (net.Conn, error) // nil: TCP

	mu    sync.Mutex
	conns []*lossy
}

func (b *blackhole) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	b.mu.Lock()
	dial := b.under
	b.mu.Unlock()
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l := &lossy{Conn: c, closed: make(chan struct{})}
	b.mu.Lock()
	b.conns = append(b.conns, l)
	b.mu.Unlock()
	return l, nil
}

// swallow loses the flows that there are; later ones pass.
func (b *blackhole) swallow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		c.lost.Store(true)
	}
}

type lossy struct {
	net.Conn
	lost   atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (l *lossy) Write(b []byte) (int, error) {
	if l.lost.Load() {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

func (l *lossy) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if l.lost.Load() {
		<-l.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (l *lossy) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Conn.Close()
}

func TestSilenceIsNotWaitedOut(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		var attempts atomic.Int64
		opts := transport.Options{
			Protocol: p,
			Prepare:  func(*http.Request, transport.Peer, int) error { attempts.Add(1); return nil },
		}
		quietly(t, opts, nil, func(t *testing.T, a, b *node, hole *blackhole) {
			var wg sync.WaitGroup
			for range 6 { // several connections, of which most are idle afterwards
				wg.Go(func() { mustSend(t, a, b, "warm") })
			}
			wg.Wait()
			hole.swallow()
			attempts.Store(0)
			ctx, cancel := context.WithTimeout(transport.WithOperation(t.Context(), "op"), patient)
			defer cancel()
			got, _, err := send(ctx, a, b, "hello")
			if err != nil || got != "hello" {
				t.Fatalf("got %q, %v", got, err)
			}
			if n := attempts.Load(); n != 2 {
				t.Errorf("%d attempts prepared, want 2", n)
			}
			st := peerStats(t, a.tr, "b")
			if st.Silences != 1 || st.Retired == 0 || a.events.count(transport.EventSilence) != 1 || a.events.count(transport.EventRetired) != 1 {
				t.Errorf("stats %+v, want one silence and its connections retired", st)
			}
			// What went silent with it is out of use: a request that may not be repeated is safe again.
			mustSend(t, a, b, "after")
			eventually(t, "the silent attempt ended", func() bool { return peerStats(t, a.tr, "b").InFlight == [2]int{} })
		})
	})
}

// quietly runs f with a and b in a bubble, where computing takes no time and nothing is silent that should not be. h may be
// nil for echo.
func quietly(t *testing.T, opts transport.Options, h http.HandlerFunc, f func(t *testing.T, a, b *node, hole *blackhole)) {
	synctest.Test(t, func(t *testing.T) {
		ca, network := sdktest.NewCA(t), newPipe()
		hole := &blackhole{under: network.dial}
		opts.Dial = hole.dial
		b := newNodeAt(t, "b", network, transport.Options{})
		if h != nil {
			b.srv.Handler = h
		}
		a := &node{name: "a"}
		a.tr, a.events = newTransport(t, opts) // after b: see newNodeAt
		update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{{Name: "a", URL: "https://a.example"}}})
		update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
		f(t, a, b, hole)
	})
}

func TestWithoutAnOperationIDSilenceIsWaitedOut(t *testing.T) {
	opts := transport.Options{SilenceFloor: time.Millisecond, SilenceCap: time.Millisecond, SilenceInitial: time.Millisecond}
	quietly(t, opts, nil, func(t *testing.T, a, b *node, hole *blackhole) {
		mustSend(t, a, b, "warm")
		hole.swallow()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, _, err := send(ctx, a, b, "hello")
		wantKind(t, err, transport.KindTimeout)
		if transport.Unsent(err) || peerStats(t, a.tr, "b").Attempts != 2 {
			t.Errorf("%v, %+v", err, peerStats(t, a.tr, "b"))
		}
		// so it is with an id and a body that cannot be had again
		req := request(t, transport.WithOperation(t.Context(), "op"), "POST", b, io.MultiReader(strings.NewReader("x")))
		resp, err := a.tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	})
}

// The answer to the first attempt wins if it comes first, and its slow connection stays in use.
func TestTheFirstAnswerWins(t *testing.T) {
	opts := transport.Options{SilenceFloor: 20 * time.Millisecond, SilenceCap: 20 * time.Millisecond, SilenceInitial: 20 * time.Millisecond}
	var second chan struct{}
	var n atomic.Int64
	h := func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			<-second // the repeat has arrived
			_, _ = io.WriteString(w, "first")
		case 2:
			close(second)
			<-r.Context().Done()
		}
	}
	quietly(t, opts, h, func(t *testing.T, a, b *node, _ *blackhole) {
		second = make(chan struct{}) // of the bubble
		ctx, cancel := context.WithTimeout(transport.WithOperation(t.Context(), "op"), patient)
		defer cancel()
		got, _, err := send(ctx, a, b, "")
		if err != nil || got != "first" {
			t.Errorf("got %q, %v", got, err)
		}
		if st := peerStats(t, a.tr, "b"); st.Silences != 1 || st.Retired != 0 {
			t.Errorf("stats %+v, want a silence and nothing retired", st)
		}
		eventually(t, "nothing in flight", func() bool { return peerStats(t, a.tr, "b").InFlight == [2]int{} })
	})
}

// A peer that is always slow is not sent everything twice for ever.
func TestASlowPeerIsLearned(t *testing.T) {
	opts := transport.Options{SilenceFloor: 10 * time.Millisecond, SilenceCap: 20 * time.Millisecond, SilenceInitial: 10 * time.Millisecond}
	slow := func(http.ResponseWriter, *http.Request) { time.Sleep(60 * time.Millisecond) }
	quietly(t, opts, slow, func(t *testing.T, a, b *node, _ *blackhole) {
		for range 30 {
			if _, _, err := send(transport.WithOperation(t.Context(), "op"), a, b, ""); err != nil {
				t.Fatal(err)
			}
		}
		if st := peerStats(t, a.tr, "b"); st.Silences > 15 || st.Usual[transport.Quorum] < 50*time.Millisecond {
			t.Errorf("%d of 30 repeated, usual time %v", st.Silences, st.Usual[transport.Quorum])
		}
	})
}
