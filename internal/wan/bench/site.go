package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"sort"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/wan"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A site is two hosts with a server on the second.
type site struct {
	net    *wan.Network
	rtt    time.Duration
	ca     *sdktest.CA
	other  *sdktest.CA // a root that vouches for nobody
	server *http.Server
	accept *transport.Transport
	addr   string
	closed []func()

	mu   sync.Mutex
	seen func(serial string) // told of the client certificate of every request
}

// fatal lets sdktest be used outside a test.
type fatal struct{}

func (fatal) Helper()                   {}
func (fatal) Fatalf(f string, a ...any) { log.Fatalf(f, a...) }

func newSite(rtt time.Duration) (*site, error) {
	n, err := wan.New(rtt/2, 2)
	if err != nil {
		return nil, err
	}
	s := &site{net: n, rtt: rtt, ca: sdktest.NewCA(fatal{}), other: sdktest.NewCA(fatal{})}
	s.closed = append(s.closed, func() { _ = n.Close() })
	if s.accept, err = transport.New(transport.Options{}); err != nil {
		return nil, err
	}
	s.closed = append(s.closed, func() { _ = s.accept.Close() })
	err = s.accept.Update(context.Background(), transport.Material{
		Identity: s.identity("b.example"), Trust: s.trust(),
		Peers: []transport.Peer{{Name: "a", URL: "https://a.example"}},
	})
	if err != nil {
		return nil, err
	}
	l, err := n.Host(1).Listen(0)
	if err != nil {
		return nil, err
	}
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), IdleTimeout: transport.ServerIdleTimeout, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.server.Serve(s.accept.Listener(l)) }()
	s.closed = append(s.closed, func() { _ = s.server.Close() })
	return s, nil
}

func (s *site) close() {
	for i := len(s.closed) - 1; i >= 0; i-- {
		s.closed[i]()
	}
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	seen := s.seen
	s.mu.Unlock()
	if seen != nil {
		seen(r.TLS.PeerCertificates[0].SerialNumber.String())
	}
	_, _ = io.WriteString(w, "ok")
}

func (s *site) watch(f func(serial string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = f
}

func (s *site) identity(name string) *tls.Certificate {
	return s.ca.Issue(fatal{}, sdktest.Leaf{DNS: []string{name}}).TLS
}

func (s *site) trust(more ...*sdktest.CA) *transport.Trust {
	t := &transport.Trust{Roots: []*x509.Certificate{s.ca.Certificate}}
	for _, c := range more {
		t.Roots = append(t.Roots, c.Certificate)
	}
	return t
}

func (s *site) material() transport.Material {
	return transport.Material{
		Identity: s.identity("a.example"), Trust: s.trust(),
		Peers: []transport.Peer{{Name: "b", URL: "https://" + s.addr, ServerName: "b.example"}},
	}
}

// transport returns a client that is up to date, and not warm.
func (s *site) transport(o transport.Options) (*transport.Transport, error) {
	o.Dial = s.net.Host(0).Dial
	t, err := transport.New(o)
	if err != nil {
		return nil, err
	}
	return t, t.Update(context.Background(), s.material())
}

// netHTTP returns a client as most programs have it: net/http's defaults and a certificate.
func (s *site) netHTTP(h2 bool, certificate func() *tls.Certificate) *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.Certificate)
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.DialContext = s.net.Host(0).Dial
	t.ForceAttemptHTTP2 = h2
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(h2)
	t.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "b.example", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return certificate(), nil
	}}
	return t
}

func (s *site) fixed() func() *tls.Certificate {
	id := s.identity("a.example")
	return func() *tls.Certificate { return id }
}

// post sends a body and waits for the end of the answer.
func (s *site) post(ctx context.Context, rt http.RoundTripper, body []byte) (time.Duration, error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.addr+"/", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return time.Since(began), err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return time.Since(began), err
}

type times []time.Duration

// at returns a quantile.
func (t times) at(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	s := append(times(nil), t...)
	sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

func (s *site) rtts(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(s.rtt)) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
