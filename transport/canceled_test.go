package transport_test

import (
	"context"
	"errors"
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

// An answer that is there when the request's context has ended may be one to that end.
func TestAnAnswerThatComesAfterTheEndOfItsContextIsNone(t *testing.T) {
	for name, op := range map[string]string{"with an operation id": "op", "without": ""} {
		t.Run(name, func(t *testing.T) {
			ca := sdktest.NewCA(t)
			ctx, cancel := context.WithCancel(transport.WithOperation(t.Context(), op))
			defer cancel()
			a := newNode(t, "a", transport.Options{Wrap: func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					resp, err := next.RoundTrip(r)
					if r.Context().Value(ended{}) != nil {
						cancel()
					}
					return resp, err
				})
			}}, nil)
			b := newNode(t, "b", transport.Options{}, nil)
			join(t, ca, a, b)
			_, _, err := send(context.WithValue(ctx, ended{}, true), a, b, "x")
			wantKind(t, err, transport.KindCanceled)
			if transport.Unsent(err) || !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want it canceled and perhaps processed", err)
			}
			mustSend(t, a, b, "x")
			eventually(t, "nothing in flight", func() bool { return peerStats(t, a.tr, "b").InFlight == [2]int{} })
		})
	}
}

type ended struct{}

// A lateCloser is closed, once armed, when the peer's last words were read.
type lateCloser struct {
	net.Conn
	armed, heard <-chan struct{}
	hear         func() // closes heard
}

func (c *lateCloser) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.armed:
		c.hear()
	default:
	}
	return n, err
}

func (c *lateCloser) Close() error {
	select {
	case <-c.armed:
		select {
		case <-c.heard: // what TLS says before it closes has ended the handler
		case <-time.After(time.Second): // it said nothing: a write was under way still
		}
	default:
	}
	return c.Conn.Close()
}

// A server that learns that nobody waits any more ends its answer, and properly: what was read is not the whole.
func TestABodyThatEndsWithItsContextIsNotTakenForWhole(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		armed := make(chan struct{})
		var conns atomic.Int64
		a := newNode(t, "a", transport.Options{Protocol: p, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil || conns.Add(1) > 1 || p != transport.HTTP1 {
				return c, err
			}
			heard := make(chan struct{})
			return &lateCloser{c, armed, heard, sync.OnceFunc(func() { close(heard) })}, nil
		}}, nil)
		b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "part")
			hanging(w, r)
		}))
		join(t, ca, a, b)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		resp, err := a.tr.RoundTrip(request(t, ctx, http.MethodGet, b, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		close(armed)
		read := make(chan error, 1)
		go func() {
			_, err := io.ReadAll(resp.Body)
			read <- err
		}()
		cancel()
		wantKind(t, wantEnd(t, read), transport.KindCanceled)
	})
}
