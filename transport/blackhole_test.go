package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// ackTimeout is quorum.DefaultAckTimeout.
const ackTimeout = 2 * time.Second

// A pipe is a network inside the process, for tests whose time does not pass by itself.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "b.example:443" }

// newNodeAt is newNode on a listener of the caller's. On a pipe, which holds nothing, its clients must be made after it, so
// that they close first: two ends that take leave of each other at once would wait for each other, and Server.Close holds
// a mutex then, for which no time passes in a bubble.
func newNodeAt(t testing.TB, name string, l net.Listener, opts transport.Options) *node {
	t.Helper()
	n := &node{name: name, addr: l.Addr().String()}
	n.tr, n.events = newTransport(t, opts)
	n.srv = &http.Server{Handler: http.HandlerFunc(n.echo), IdleTimeout: transport.ServerIdleTimeout, ErrorLog: silentLog}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.srv.Serve(n.tr.Listener(l))
	}()
	t.Cleanup(func() {
		_ = n.srv.Close()
		<-done
	})
	return n
}

// Under default options, flows that lose everything without an end are found long before an acknowledgement is due, and
// every request is answered on a connection dialled since. Time is that of the bubble: computing takes none of it.
func TestASilentFlowIsFoundWithinTheAckTimeout(t *testing.T) {
	for _, tt := range []struct {
		name     string
		heard    int           // requests answered before
		requests int           // at once, into the silence
		within   time.Duration // of each
	}{
		{"a peer heard before", 3, 1, 150 * time.Millisecond},
		{"a crowd", 3, 40, 150 * time.Millisecond},
		{"a peer not heard yet", 0, 1, 750 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range []transport.Protocol{transport.HTTP1, transport.HTTP2} {
				synctest.Test(t, func(t *testing.T) {
					ca, net := sdktest.NewCA(t), newPipe()
					hole := blackhole{under: net.dial}
					b := newNodeAt(t, "b", net, transport.Options{})
					a, _ := newTransport(t, transport.Options{Protocol: p, Dial: hole.dial})
					from := &node{name: "a", tr: a}
					update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{{Name: "a", URL: "https://a.example"}}})
					update(t, a, transport.Material{Identity: from.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
					if err := a.Warm(t.Context()); err != nil {
						t.Fatal(err)
					}
					for range tt.heard {
						mustSend(t, from, b, "heard")
					}
					dials := peerStats(t, a, "b").Dials
					hole.swallow()
					began := time.Now()
					var wg sync.WaitGroup
					for i := range tt.requests {
						wg.Go(func() {
							ctx, cancel := context.WithTimeout(transport.WithOperation(t.Context(), fmt.Sprint(i)), ackTimeout)
							defer cancel()
							if got, _, err := send(ctx, from, b, "hello"); err != nil || got != "hello" {
								t.Errorf("%v: got %q, %v", p, got, err)
							}
							if d := time.Since(began); d > tt.within {
								t.Errorf("%v: an answer after %v, want it after %v at most", p, d, tt.within)
							}
						})
					}
					wg.Wait()
					if st := peerStats(t, a, "b"); st.Silences == 0 || st.Dials == dials || st.Retired == 0 {
						t.Errorf("%v: %+v, want silences, dials and connections retired", p, st)
					}
				})
			}
		})
	}
}

// A peer that is gone for good, and not only its flows, fails a request when its time is over, and no sooner.
func TestASilentPeerIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, network := sdktest.NewCA(t), newPipe()
		hole := blackhole{under: network.dial}
		b := newNodeAt(t, "b", network, transport.Options{})
		a, _ := newTransport(t, transport.Options{Dial: hole.dial})
		from := &node{name: "a", tr: a}
		update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{{Name: "a", URL: "https://a.example"}}})
		update(t, a, transport.Material{Identity: from.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
		mustSend(t, from, b, "heard")
		hole.swallow()
		hole.mu.Lock()
		hole.under = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		hole.mu.Unlock()
		began := time.Now()
		ctx, cancel := context.WithTimeout(transport.WithOperation(t.Context(), "op"), ackTimeout)
		defer cancel()
		_, _, err := send(ctx, from, b, "hello")
		if d := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || d != ackTimeout {
			t.Errorf("after %v: %v, want the deadline", d, err)
		}
	})
}

// The time from a request into a flow that has gone silent to its answer on a fresh connection.
func BenchmarkSilentFlow(b *testing.B) {
	for name, opts := range map[string]transport.Options{"HTTP1": {}, "HTTP2": {Protocol: transport.HTTP2}} {
		b.Run(name, func(b *testing.B) {
			ca := sdktest.NewCA(b)
			hole := blackhole{}
			opts.Dial = hole.dial
			from, to := newNode(b, "a", opts, nil), newNode(b, "b", transport.Options{}, nil)
			join(b, ca, from, to)
			var times []time.Duration
			for range b.N {
				for range 10 { // what is usual is known, and earns the repeats
					mustSend(b, from, to, "heard")
				}
				hole.swallow()
				began := time.Now()
				ctx, cancel := context.WithTimeout(transport.WithOperation(b.Context(), "op"), ackTimeout)
				if _, _, err := send(ctx, from, to, "hello"); err != nil {
					b.Fatal(err)
				}
				cancel()
				times = append(times, time.Since(began))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2])/1e6, "ms-p50")
			b.ReportMetric(float64(times[len(times)-1])/1e6, "ms-max")
		})
	}
}
