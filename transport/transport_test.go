package transport_test

import (
	"io"
	"log"
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

func TestConcurrentRequestsShareThePoolWithinItsLimit(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p, MaxConns: 4}, nil)
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
		st := peerStats(t, a.tr, "b")
		// One that a busy machine was too slow for has been replaced.
		if n := uint64(b.conns.Load()); n > 4+st.DialErrors+st.Retired {
			t.Errorf("%d connections, %d dials failed, %d were retired, want at most 4 others", n, st.DialErrors, st.Retired)
		}
		if st.InFlight != [2]int{} || st.Attempts != 320 {
			t.Errorf("stats %+v, want nothing in flight after 320 attempts", st)
		}
	})
}
