package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// manyPeers is n peers that nobody dials, each with a name of its own.
func manyPeers(n int) []transport.Peer {
	peers := make([]transport.Peer, n)
	for i := range peers {
		peers[i] = transport.Peer{Name: fmt.Sprintf("p%d", i), URL: fmt.Sprintf("https://p%d.example:9077/base", i)}
	}
	return peers
}

// Update with a thousand peers, from nothing and as a change; the second with a trust of each peer's own.
func BenchmarkUpdate(b *testing.B) {
	ca := sdktest.NewCA(b)
	id := ca.Issue(b, sdktest.Leaf{DNS: []string{"a.example"}}).TLS
	shared := transport.Material{Identity: id, Trust: trust(ca), Peers: manyPeers(1000)}
	scoped := transport.Material{Identity: id, Peers: manyPeers(1000)}
	for i := range scoped.Peers {
		scoped.Peers[i].Trust = trust(sdktest.NewCA(b))
	}
	for name, m := range map[string]transport.Material{"peers=1000": shared, "peers=1000,scoped": scoped} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				tr, err := transport.New(transport.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if err := tr.Update(b.Context(), m); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				_ = tr.Close()
				b.StartTimer()
			}
		})
	}
}

// A root is removed while half of the connections depend on it: the time until the last of them is closed, and
// seen to be closed at the other end too.
func BenchmarkRootRemoved(b *testing.B) {
	const conns = 500
	keep, drop := sdktest.NewCA(b), sdktest.NewCA(b)
	var slowest time.Duration
	for range b.N {
		b.StopTimer()
		a := newNode(b, "a", transport.Options{}, nil)
		n := newNode(b, "n", transport.Options{}, nil)
		am := transport.Material{Identity: a.issue(b, keep), Trust: trust(keep, drop), Peers: []transport.Peer{n.peer()}}
		update(b, a.tr, am)
		m := transport.Material{Trust: trust(keep), Peers: []transport.Peer{a.peer()}}
		ended := make(chan struct{}, conns)
		for i := range conns {
			if i%(conns/2) == 0 {
				m.Identity = n.issue(b, map[bool]*sdktest.CA{true: keep, false: drop}[i == 0])
				update(b, n.tr, m)
			}
			c, err := a.tr.Dial(b.Context(), "n", "http/1.1")
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { c.Close() })
			if i >= conns/2 {
				go func() {
					_, _ = c.Read(make([]byte, 1))
					ended <- struct{}{}
				}()
			}
		}
		am.Trust = trust(keep)
		b.StartTimer()
		began := time.Now()
		update(b, a.tr, am)
		for range conns / 2 {
			<-ended
		}
		slowest = max(slowest, time.Since(began))
		b.StopTimer()
		if cut := a.tr.Stats().Cut; cut != conns/2 {
			b.Fatalf("%d cut, want %d", cut, conns/2)
		}
		_ = a.tr.Close()
		_ = n.tr.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(slowest)/1e6, "ms-slowest")
}

// Small requests over a warm connection, beside net/http to the same server.
func BenchmarkRequest(b *testing.B) {
	ca := sdktest.NewCA(b)
	node := newNode(b, "b", transport.Options{}, nil)
	a := newNode(b, "a", transport.Options{}, nil)
	h2 := newNode(b, "a", transport.Options{Protocol: transport.HTTP2}, nil)
	id := a.issue(b, ca)
	update(b, node.tr, transport.Material{Identity: node.issue(b, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
	m := transport.Material{Identity: id, Trust: trust(ca), Peers: []transport.Peer{node.peer()}}
	update(b, a.tr, m)
	update(b, h2.tr, m)
	for _, c := range []struct {
		name string
		rt   http.RoundTripper
		ctx  context.Context
	}{
		{"transport,HTTP1", a.tr, b.Context()},
		{"transport,HTTP1,operation", a.tr, transport.WithOperation(b.Context(), "op")},
		{"nethttp,HTTP1", plainClient(ca, id, node, false), b.Context()},
		{"transport,HTTP2", h2.tr, b.Context()},
		{"transport,HTTP2,operation", h2.tr, transport.WithOperation(b.Context(), "op")},
		{"nethttp,HTTP2", plainClient(ca, id, node, true), b.Context()},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := strings.Repeat("x", 1<<10)
			b.ReportAllocs()
			for range b.N {
				req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, "https://"+node.addr+"/x", strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				resp, err := c.rt.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}

func plainClient(ca *sdktest.CA, id *tls.Certificate, to *node, h2 bool) *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	t := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: to.host(), Certificates: []tls.Certificate{*id}},
		ForceAttemptHTTP2: h2,
		Protocols:         new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!h2)
	t.Protocols.SetHTTP2(h2)
	return t
}

// What one idle peer costs: its entry, and a connection that is handshaken and unused, in bytes of heap and stack;
// beside an idle connection of net/http to the same server.
func BenchmarkIdlePeer(b *testing.B) {
	const peers = 400
	ca := sdktest.NewCA(b)
	id := ca.Issue(b, sdktest.Leaf{DNS: []string{"a.example"}}).TLS
	addr, stop := bareServer(b, ca.Issue(b, sdktest.Leaf{DNS: []string{"b.example"}}).TLS)
	defer stop()
	_, port, _ := net.SplitHostPort(addr)
	host := func(i int) string { return fmt.Sprintf("127.1.%d.%d:%s", i/200, i%200+1, port) } // one server, many addresses
	b.Run("transport", func(b *testing.B) {
		for range b.N {
			m := transport.Material{Identity: id, Trust: trust(ca)}
			for i := range peers {
				m.Peers = append(m.Peers, transport.Peer{URL: "https://" + host(i), ServerName: "b.example"})
			}
			before := inUse()
			tr, _ := newTransport(b, transport.Options{})
			update(b, tr, m)
			configured := inUse()
			if err := tr.Warm(b.Context()); err != nil {
				b.Fatal(err)
			}
			warm := inUse()
			b.ReportMetric(float64(int64(configured-before))/peers, "B/configured")
			b.ReportMetric(float64(int64(warm-configured))/peers, "B/idle-conn")
			_ = tr.Close()
		}
	})
	b.Run("nethttp", func(b *testing.B) {
		for range b.N {
			roots := x509.NewCertPool()
			roots.AddCert(ca.Certificate)
			plain := &http.Transport{MaxIdleConns: peers, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "b.example", Certificates: []tls.Certificate{*id}}}
			before := inUse()
			for i := range peers {
				resp, err := plain.RoundTrip(mustRequest(b, "https://"+host(i)+"/"))
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			b.ReportMetric(float64(int64(inUse()-before))/peers, "B/idle-conn")
			plain.CloseIdleConnections()
		}
	})
}

// inUse is the memory in use once what is going away has gone.
func inUse() uint64 {
	var m runtime.MemStats
	time.Sleep(200 * time.Millisecond)
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
