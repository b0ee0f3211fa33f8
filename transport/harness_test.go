package transport_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if serveBare() {
		return
	}
	goleak.VerifyTestMain(m)
}

const patient = 20 * time.Second

// A node is a member with a client and a server side, on loopback.
type node struct {
	name   string
	tr     *transport.Transport
	srv    *http.Server
	stop   func() // ends the server; when it returns, nothing listens
	addr   string
	conns  atomic.Int64 // TCP connections accepted
	hits   atomic.Int64 // requests served
	events *events
}

// events remembers what a Transport told.
type events struct {
	mu  sync.Mutex
	all []transport.Event
}

func (e *events) add(ev transport.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) count(typ transport.EventType) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ev := range e.all {
		if ev.Type == typ {
			n++
		}
	}
	return n
}

func (e *events) last(typ transport.EventType) (found transport.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		if ev.Type == typ {
			found = ev
		}
	}
	return found
}

func (n *node) host() string { return n.name + ".example" }

func (n *node) peer() transport.Peer {
	return transport.Peer{Name: n.name, URL: "https://" + n.addr, ServerName: n.host()}
}

func newTransport(t testing.TB, opts transport.Options) (*transport.Transport, *events) {
	t.Helper()
	ev := &events{}
	if opts.OnEvent == nil {
		opts.OnEvent = ev.add
	}
	tr, err := transport.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	return tr, ev
}

type countingListener struct {
	net.Listener
	n *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

// echo answers with the request's body, or with the name of the peer that asks.
func (n *node) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p, err := n.tr.Identify(r.TLS)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	w.Header().Set("X-Peer", p.Name)
	w.Header().Set("X-Serial", r.TLS.PeerCertificates[0].SerialNumber.String())
	_, _ = w.Write(body)
}

// newNode starts a member; h may be nil for echo. A connection may take as long as a busy machine needs.
func newNode(t testing.TB, name string, opts transport.Options, h http.Handler) *node {
	t.Helper()
	if opts.ConnectTimeout == 0 {
		opts.ConnectTimeout = patient
	}
	n := &node{name: name}
	n.tr, n.events = newTransport(t, opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = l.Addr().String()
	if h == nil {
		h = http.HandlerFunc(n.echo)
	}
	n.srv = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.hits.Add(1)
			h.ServeHTTP(w, r)
		}),
		IdleTimeout: transport.ServerIdleTimeout,
		ErrorLog:    silentLog,
	}
	tl := n.tr.Listener(countingListener{l, &n.conns})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.srv.Serve(tl)
	}()
	n.stop = func() {
		_ = n.srv.Close()
		<-done // a Serve that Close came before closes the listener itself
	}
	t.Cleanup(n.stop)
	return n
}

// issue makes a certificate for the node.
func (n *node) issue(t testing.TB, ca *sdktest.CA) *tls.Certificate {
	t.Helper()
	return ca.Issue(t, sdktest.Leaf{DNS: []string{n.host()}}).TLS
}

func trust(cas ...*sdktest.CA) *transport.Trust {
	tr := &transport.Trust{}
	for _, ca := range cas {
		tr.Roots = append(tr.Roots, ca.Certificate)
	}
	return tr
}

func update(t testing.TB, tr *transport.Transport, m transport.Material) {
	t.Helper()
	if err := tr.Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// join makes the nodes each other's peers, under one CA.
func join(t testing.TB, ca *sdktest.CA, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		m := transport.Material{Identity: n.issue(t, ca), Trust: trust(ca)}
		for _, p := range nodes {
			if p != n {
				m.Peers = append(m.Peers, p.peer())
			}
		}
		update(t, n.tr, m)
	}
}

// send posts body from one node to another and returns the answer's body and header.
func send(ctx context.Context, from, to *node, body string) (string, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+to.addr+"/x", strings.NewReader(body))
	if err != nil {
		return "", nil, err
	}
	resp, err := from.tr.RoundTrip(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, got)
	}
	return string(got), resp.Header, err
}

func mustSend(t testing.TB, from, to *node, body string) http.Header {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	got, h, err := send(ctx, from, to, body)
	if err != nil {
		t.Fatalf("%s to %s: %v", from.name, to.name, err)
	}
	if got != body {
		t.Fatalf("%s to %s: got %d bytes %.40q, want %d", from.name, to.name, len(got), got, len(body))
	}
	return h
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func wantKind(t testing.TB, err error, k transport.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one of kind %v", k)
	}
	if got := transport.KindOf(err); got != k {
		t.Fatalf("error of kind %v, want %v: %v", got, k, err)
	}
}

func peerStats(t testing.TB, tr *transport.Transport, name string) transport.PeerStats {
	t.Helper()
	for _, p := range tr.Stats().Peers {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no stats of %s", name)
	return transport.PeerStats{}
}

func protocols(t *testing.T, f func(t *testing.T, p transport.Protocol)) {
	t.Run("HTTP1", func(t *testing.T) { f(t, transport.HTTP1) })
	t.Run("HTTP2", func(t *testing.T) { f(t, transport.HTTP2) })
}
