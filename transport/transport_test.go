package transport_test

import (
	"context"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

var silentLog = log.New(io.Discard, "", 0)

func TestRequestsReachAPeerAndNameTheSender(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p}, nil)
		b := newNode(t, "b", transport.Options{}, nil)
		join(t, ca, a, b)
		for _, size := range []int{0, 1, 1 << 10, 1 << 20} {
			if h := mustSend(t, a, b, strings.Repeat("x", size)); h.Get("X-Peer") != "a" {
				t.Errorf("%d bytes: sender identified as %q, want a", size, h.Get("X-Peer"))
			}
		}
		st := peerStats(t, a.tr, "b")
		if st.Handshakes != 1 || st.Cold != 1 || st.Reused != 3 || st.Requests != 4 || st.Attempts != 4 {
			t.Errorf("stats %+v, want one handshake, one cold and three reused of four requests", st)
		}
	})
}

// openConns counts the connections that it dialled and that are open.
type openConns struct {
	mu        sync.Mutex
	now, peak int
}

func (o *openConns) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now++
	o.peak = max(o.peak, o.now)
	return &openConn{Conn: c, of: o}, nil
}

func (o *openConns) most() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peak
}

type openConn struct {
	net.Conn
	of   *openConns
	once sync.Once
}

func (c *openConn) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.of.now--
	})
	return c.Conn.Close()
}

func TestConcurrentRequestsShareThePoolWithinItsLimit(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		var open openConns
		a := newNode(t, "a", transport.Options{Protocol: p, MaxConns: 4, Dial: open.dial}, nil)
		b := newNode(t, "b", transport.Options{}, nil)
		join(t, ca, a, b)
		var wg sync.WaitGroup
		for range 16 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 20 {
					mustSend(t, a, b, "hello")
				}
			}()
		}
		wg.Wait()
		// They may be more in all: net/http closes one that on a busy machine seems to write still.
		if n := open.most(); n > 4 {
			t.Errorf("%d connections at once, want at most 4", n)
		}
		if n := peerStats(t, a.tr, "b").Attempts; n != 320 {
			t.Errorf("%d attempts, want 320", n)
		}
		// net/http may tell of the end of an exchange on a goroutine of its own.
		eventually(t, "nothing in flight", func() bool { return peerStats(t, a.tr, "b").InFlight == [2]int{} })
	})
}
