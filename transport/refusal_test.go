package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A host may serve others too, at other paths.
func TestARequestOutsideAPeersPathIsRefused(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	p := b.peer()
	p.URL += "/fed/"
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{p}})
	for path, ok := range map[string]bool{"/fed": true, "/fed/": true, "/fed/a%2Fb?x#y": true, "/fed/..a": true, "": false, "/": false, "/federal": false, "/other": false, "/fed/../other": false, "/fed/%2e%2E/other": false, "/fed/..": false} {
		resp, err := a.tr.RoundTrip(mustRequest(t, "https://"+b.addr+path))
		if ok && err != nil {
			t.Errorf("%q: %v", path, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		if !ok {
			if transport.KindOf(err) != transport.KindNotPeer || !strings.Contains(fmt.Sprint(err), "below the URL of none of them") {
				t.Errorf("%q: %v, want it refused", path, err)
			}
		}
	}
}

func TestARequestTargetOfItsOwnLeavesNoPeersPath(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	p := b.peer()
	p.URL += "/fed"
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{p}})
	req := mustRequest(t, "https://"+b.addr+"/fed/a")
	req.URL.Opaque = "/other" // net/http sends this
	resp, err := a.tr.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	if transport.KindOf(err) != transport.KindNotPeer || !strings.Contains(fmt.Sprint(err), "URL.Opaque") || b.hits.Load() != 0 {
		t.Errorf("%v after %d requests, want it refused", err, b.hits.Load())
	}
}

func TestARefusalSaysTheCure(t *testing.T) {
	ca, other := sdktest.NewCA(t), sdktest.NewCA(t, sdktest.CAOptions{Name: "other"})
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	hour := time.Hour
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for _, tt := range []struct {
		name   string
		server *tls.Certificate
		client *sdktest.CA
		peer   func(*transport.Peer)
		says   string
	}{
		{name: "unknown CA", server: other.Issue(t, sdktest.Leaf{DNS: []string{b.host()}}).TLS, says: "trust the CA that issued it"},
		{name: "expired", server: ca.Issue(t, sdktest.Leaf{DNS: []string{b.host()}, NotBefore: time.Now().Add(-2 * hour), NotAfter: time.Now().Add(-hour)}).TLS, says: "have the peer renew it"},
		{name: "not yet valid", server: ca.Issue(t, sdktest.Leaf{DNS: []string{b.host()}, NotBefore: time.Now().Add(hour)}).TLS, says: "are the clocks right?"},
		{name: "no serverAuth", server: ca.Issue(t, sdktest.Leaf{DNS: []string{b.host()}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).TLS, says: "with serverAuth"},
		{name: "another name", server: ca.Issue(t, sdktest.Leaf{DNS: []string{"c.example"}}).TLS, says: "say so with ServerName or IDs"},
		{name: "another ID", peer: func(p *transport.Peer) { p.IDs = []string{"spiffe://x.example/b"} }, says: "correct IDs"},
		{name: "another key", peer: func(p *transport.Peer) { p.SPKIPins = [][32]byte{{1}} }, says: "add it to SPKIPins"},
		{name: "we are unknown", client: other, says: "the peer refuses this node's certificate"},
		{name: "no TLS", peer: func(p *transport.Peer) { p.URL = strings.Replace(plain.URL, "http:", "https:", 1) }, says: "is it TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := tt.server
			if cert == nil {
				cert = b.issue(t, ca)
			}
			pool := x509.NewCertPool()
			pool.AddCert(ca.Certificate)
			srv := httptest.NewUnstartedServer(http.NotFoundHandler())
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
			srv.StartTLS()
			t.Cleanup(srv.Close)
			p := transport.Peer{Name: "b", URL: srv.URL, ServerName: b.host()}
			if tt.peer != nil {
				tt.peer(&p)
			}
			client := tt.client
			if client == nil {
				client = ca
			}
			tr, _ := newTransport(t, transport.Options{})
			update(t, tr, transport.Material{Identity: a.issue(t, client), Trust: trust(ca), Peers: []transport.Peer{p}})
			_, err := tr.RoundTrip(mustRequest(t, p.URL+"/x"))
			if err == nil || !strings.Contains(err.Error(), "transport: b: ") || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want the peer and %q", err, tt.says)
			}
		})
	}
}

// A server whose node is closed does not blame its clients' certificates.
func TestAClosedNodeSaysSo(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	b.tr.Close()
	_, _, err := send(t.Context(), a, b, "x")
	wantKind(t, err, transport.KindTLS)
	if !strings.Contains(err.Error(), "the peer cannot serve") || !transport.Unsent(err) {
		t.Errorf("%v, want that the peer cannot serve, and nothing sent", err)
	}
	if err := b.tr.Warm(t.Context()); transport.KindOf(err) != transport.KindClosed || !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Warm after Close: %v, want ErrClosed", err)
	}
}

func TestAPeerThatWantsACertificateIsNamed(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	update(t, a.tr, transport.Material{Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	_, _, err := send(t.Context(), a, b, "x")
	wantKind(t, err, transport.KindTLS)
	if !strings.Contains(err.Error(), "give an Identity") {
		t.Errorf("%v, want the cure", err)
	}
}

// A lateReader is a connection whose peer has refused our certificate before the first request is written: that
// fails, and the alert is read only then.
type lateReader struct {
	net.Conn
	heard, shaken atomic.Bool // the server spoke; its handshake was answered
	failed        chan struct{}
	fail          func() // closes failed
}

func (c *lateReader) Read(b []byte) (int, error) {
	if c.shaken.Load() {
		<-c.failed
	}
	n, err := c.Conn.Read(b)
	c.heard.Store(true)
	return n, err
}

func (c *lateReader) Write(b []byte) (int, error) {
	if !c.shaken.Load() {
		c.shaken.Store(c.heard.Load())
		return c.Conn.Write(b)
	}
	time.AfterFunc(100*time.Millisecond, c.fail)
	return 0, &net.OpError{Op: "write", Err: io.ErrClosedPipe}
}

func (c *lateReader) Close() error {
	c.fail()
	return c.Conn.Close()
}

func TestAWriteThatFailsDoesNotHideWhyThePeerRefused(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		failed := make(chan struct{})
		return &lateReader{Conn: c, failed: failed, fail: sync.OnceFunc(func() { close(failed) })}, nil
	}}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	update(t, a.tr, transport.Material{Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	_, _, err := send(t.Context(), a, b, "x")
	wantKind(t, err, transport.KindTLS)
	if !transport.Unsent(err) {
		t.Errorf("%v, want it unsent", err)
	}
}
