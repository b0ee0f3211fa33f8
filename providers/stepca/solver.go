package stepca

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Challenge is what the CA wants to see as proof that the node controls a name (RFC 8555 §8).
type Challenge struct {
	Name    string           // the DNS name or IP address
	Path    string           // http-01: the path that is asked for
	Content string           // http-01: the answer
	Record  string           // dns-01: the TXT record of _acme-challenge.Name
	TLS     *tls.Certificate // tls-alpn-01: the certificate for the protocol acme-tls/1 (RFC 8737)
}

// A Solver answers challenges of one type.
type Solver interface {
	// Type is "http-01", "tls-alpn-01" or "dns-01".
	Type() string
	// Solve makes the answer visible to the CA and returns once it is. remove takes it away again, and waits for what it
	// stops; it is called once.
	Solve(ctx context.Context, ch Challenge) (remove func(), err error)
}

// HTTP01 answers over plain HTTP. While a certificate is enrolled it listens on Addr; default ":80", which is where the CA
// looks.
type HTTP01 struct{ Addr string }

// Type implements Solver.
func (HTTP01) Type() string { return "http-01" }

// Solve implements Solver.
func (h HTTP01) Solve(_ context.Context, ch Challenge) (func(), error) {
	l, err := listen(h.Addr, ":80")
	if err != nil {
		return nil, err
	}
	return serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != ch.Path {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte(ch.Content))
	})), nil
}

// TLSALPN01 answers in a TLS handshake. While a certificate is enrolled it listens on Addr; default ":443", which is where
// the CA looks.
type TLSALPN01 struct{ Addr string }

// Type implements Solver.
func (TLSALPN01) Type() string { return "tls-alpn-01" }

// Solve implements Solver.
func (s TLSALPN01) Solve(_ context.Context, ch Challenge) (func(), error) {
	l, err := listen(s.Addr, ":443")
	if err != nil {
		return nil, err
	}
	l = tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*ch.TLS}, NextProtos: []string{acme.ALPNProto},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_ = conn.(*tls.Conn).Handshake() // the handshake is the answer
			conn.Close()
		}
	}()
	return func() { l.Close(); <-done }, nil
}

// DNS01 answers with a TXT record that the function puts into the zone.
type DNS01 func(ctx context.Context, ch Challenge) (remove func(), err error)

// Type implements Solver.
func (DNS01) Type() string { return "dns-01" }

// Solve implements Solver.
func (f DNS01) Solve(ctx context.Context, ch Challenge) (func(), error) { return f(ctx, ch) }

func listen(addr, def string) (net.Listener, error) {
	if addr == "" {
		addr = def
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: listening for the CA's challenge: %w; free the port, or use another Solver", fault.ErrUnavailable, err)
	}
	return l, nil
}

func serve(l net.Listener, h http.Handler) func() {
	s := &http.Server{Handler: h, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			l.Close()
		}
	}()
	return func() { s.Close(); <-done }
}
