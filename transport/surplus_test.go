package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// While a key cannot sign, or a peer takes no more connections, those that are open go on serving all.
func TestARequestThatCannotHaveAConnectionMoreWaitsForAnother(t *testing.T) {
	ca := sdktest.NewCA(t)
	var full atomic.Bool
	a := newNode(t, "a", transport.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if full.Load() {
			return nil, errors.New("no more connections")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}, nil)
	release := make(chan struct{})
	b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		<-release
	}))
	join(t, ca, a, b)
	if err := a.tr.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	ended := make(chan error, 3)
	ask := func() {
		_, _, err := send(ctx, a, b, "x")
		ended <- err
	}
	go ask()
	eventually(t, "the one connection is busy", func() bool { return b.hits.Load() == 1 })
	go ask()
	go ask()
	eventually(t, "more dials have failed", func() bool { return peerStats(t, a.tr, "b").DialErrors >= 2 })
	close(release)
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if st := peerStats(t, a.tr, "b"); st.DialErrors > 4 {
		t.Errorf("%d dials failed for two requests: they are tried again and again", st.DialErrors)
	}

	// When the last connection is lost, who asks learns why there is no other.
	_ = b.srv.Close()
	eventually(t, "the dial's own error is the answer", func() bool {
		_, _, err := send(ctx, a, b, "x")
		return transport.KindOf(err) == transport.KindUnreachable
	})
}

// A request whose dial fails while every connection carries a long exchange waits for none of these.
func TestALongExchangeDoesNotHoldUpARequestWhoseDialFailed(t *testing.T) {
	for name, rotate := range map[string]bool{"dialed again": false, "the next generation takes it": true} {
		t.Run(name, func(t *testing.T) {
			ca := sdktest.NewCA(t)
			var dials atomic.Int64
			dialing, goOn := make(chan struct{}), make(chan struct{})
			a := newNode(t, "a", transport.Options{WarmTimeout: patient, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if dials.Add(1) == 2 {
					close(dialing)
					<-goOn
					return nil, errors.New("not this time")
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}}, nil)
			release := make(chan struct{})
			b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); string(body) == "long" {
					<-release
				}
			}))
			join(t, ca, a, b)
			ctx, cancel := context.WithTimeout(t.Context(), patient)
			defer cancel()
			long, short := make(chan error, 1), make(chan error, 1)
			ask := func(body string, ended chan<- error) {
				_, _, err := send(ctx, a, b, body)
				ended <- err
			}
			go ask("long", long)
			eventually(t, "the one connection is busy", func() bool { return b.hits.Load() == 1 })
			go ask("short", short)
			<-dialing
			if rotate {
				update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
			}
			close(goOn)
			if err := <-short; err != nil {
				t.Errorf("the request whose dial failed: %v", err)
			}
			close(release)
			if err := <-long; err != nil {
				t.Errorf("the long exchange: %v", err)
			}
			if n := dials.Load(); n != 3 { // with a rotation, the third warms the new generation
				t.Errorf("%d dials, want 3", n)
			}
		})
	}
}

type tellsClose struct {
	net.Conn
	once   *sync.Once
	closed chan struct{}
}

func (c tellsClose) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// net/http counts a connection as free before it hands over an answer that has no body; one whose generation is gone
// must not close in between.
func TestADrainedConnectionHandsItsAnswerOverBeforeItCloses(t *testing.T) {
	ca := sdktest.NewCA(t)
	first, closed := new(sync.Once), make(chan struct{})
	a := newNode(t, "a", transport.Options{WarmTimeout: patient, Dial: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		first.Do(func() {
			if err == nil {
				c = tellsClose{c, new(sync.Once), closed}
			}
		})
		return c, err
	}}, nil)
	release := make(chan struct{})
	b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	join(t, ca, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, _, err := send(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			PutIdleConn: func(error) { // free, and the answer is not handed over yet
				select {
				case <-closed:
				case <-time.After(100 * time.Millisecond):
				}
			},
		}), a, b, "")
		ended <- err
	}()
	eventually(t, "the request is being served", func() bool { return b.hits.Load() == 1 })
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	select {
	case <-closed:
	case <-ctx.Done():
		t.Error("the connection of the generation that is gone stays open")
	}
}
