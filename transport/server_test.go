package transport_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

func tlsClient(c net.Conn, cfg *tls.Config) *tls.Conn { return tls.Client(c, cfg) }

func errorsIs(err, target error) bool { return errors.Is(err, target) }

// ServerTLS with Track serves what does TLS itself, and without Track nothing, since nothing could cut it.
func TestServerTLSNeedsTrack(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	for _, track := range []bool{true, false} {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := net.Listener(inner)
		if track {
			l = b.tr.Track(l)
		}
		l = tls.NewListener(l, b.tr.ServerTLS("raw/1"))
		done := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, err = io.Copy(c, c)
				c.Close()
			}
			done <- err
		}()
		p := b.peer()
		p.URL = "https://" + inner.Addr().String()
		update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{p}})
		c, err := a.tr.Dial(t.Context(), "b", "raw/1")
		if !track {
			if err == nil {
				t.Error("an untracked connection was accepted")
				c.Close()
			}
			<-done
			l.Close()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if p := c.ConnectionState().NegotiatedProtocol; p != "raw/1" {
			t.Errorf("protocol %q", p)
		}
		_, _ = io.WriteString(c, "hi")
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Error(err)
		}
		update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca)}) // a is no peer any more
		if err := <-done; err == nil {
			t.Error("the server's connection ended well, want it cut")
		}
		_ = c.SetReadDeadline(time.Now().Add(patient))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the client's connection lives on")
		}
		c.Close()
		l.Close()
		join(t, ca, a, b)
	}
}

func TestAnInboundConnectionThatNeverShakesHandsIsClosed(t *testing.T) {
	const handshake = time.Second // and no less: a busy machine takes its time
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{HandshakeTimeout: handshake}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patient))
	if _, err := io.ReadAll(c); errors.Is(err, http.ErrHandlerTimeout) || isTimeout(err) {
		t.Errorf("the connection lives on: %v", err)
	}
	mustSend(t, b, a, "x") // one that did stays
	time.Sleep(handshake + handshake/10)
	mustSend(t, b, a, "x")
	if n := peerStats(t, b.tr, "a").Handshakes; n != 1 {
		t.Errorf("%d handshakes, want 1", n)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestAClientWithoutCertificateIsRefused(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	update(t, a.tr, transport.Material{Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	_, _, err := send(t.Context(), a, b, "x")
	if err == nil || b.hits.Load() != 0 {
		t.Errorf("%v, %d served", err, b.hits.Load())
	}
	if g := a.tr.Stats().Generation; g != 2 {
		t.Errorf("generation %d: giving the identity up is a change of it", g)
	}
	// and what has no identity serves nothing
	_, _, err = send(t.Context(), b, a, "x")
	if err == nil || a.hits.Load() != 0 {
		t.Errorf("%v, %d served", err, a.hits.Load())
	}
}

func TestIdentifyFollowsTheSnapshot(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	id := ca.Issue(t, sdktest.Leaf{DNS: []string{a.host()}})
	cs := &tls.ConnectionState{PeerCertificates: id.Chain}
	for range 2 {
		if p, err := b.tr.Identify(cs); err != nil || p.Name != "a" || p.ServerName != "a.example" {
			t.Errorf("%+v, %v", p, err)
		}
	}
	renamed := a.peer()
	renamed.Name = "alpha"
	update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{renamed}})
	if p, err := b.tr.Identify(cs); err != nil || p.Name != "alpha" {
		t.Errorf("%+v, %v", p, err)
	}
	update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca)})
	if _, err := b.tr.Identify(cs); transport.KindOf(err) != transport.KindRefused || !errors.Is(err, transport.ErrPermission) {
		t.Errorf("%v", err)
	}
}

// A server that takes its connections from a plain listener bounds the handshake as Listener does.
func TestAConfiguredServerClosesAConnectionThatNeverShakesHands(t *testing.T) {
	const handshake = time.Second
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{HandshakeTimeout: handshake}, nil)
	join(t, ca, a, b)
	srv := &http.Server{Handler: http.HandlerFunc(b.echo)}
	b.tr.ConfigureServer(srv)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(l, "", "") }()
	defer func() { srv.Close(); <-done }()
	for name, hello := range map[string][]byte{"says nothing": nil, "stops halfway": {0x16, 0x03, 0x01, 0x02, 0x00, 0x01}} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(patient))
		if _, err := io.ReadAll(c); isTimeout(err) {
			t.Errorf("a connection that %s lives on: %v", name, err)
		}
	}
	p := b.peer()
	p.URL = "https://" + l.Addr().String()
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{p}})
	c, err := a.tr.Dial(t.Context(), "b", "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.Sleep(handshake + handshake/10)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: b\r\n\r\n"); err != nil {
		t.Error(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patient))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("one that did is closed: %v", err)
	}
}

// A server whose ConnState is set after ConfigureServer tells nobody of the end of its connections.
func TestTheEndOfAServersConnectionsIsNoticed(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{IdleTimeout: 40 * time.Millisecond}, nil)
	join(t, ca, a, b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ErrorLog: silentLog, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
	})}
	b.tr.ConfigureServer(srv)
	srv.ConnState = func(net.Conn, http.ConnState) {}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeTLS(l, "", "")
	}()
	defer func() {
		_ = srv.Close()
		<-done
	}()
	p := b.peer()
	p.URL = "https://" + l.Addr().String()
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{p}})
	for range 5 {
		resp, err := a.tr.RoundTrip(request(t, t.Context(), http.MethodGet, &node{addr: l.Addr().String()}, nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	eventually(t, "none is counted any more", func() bool { return b.tr.Stats().Inbound == 0 })
}
