package vaulttest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A Fault is what a Proxy does with a request instead of passing it on. true: it has answered.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// A Proxy stands in front of a server, counts its requests and can make it fail.
type Proxy struct {
	URL string

	mu    sync.Mutex
	fault Fault
	edit  func(path string, body []byte) []byte
	count map[string]int
}

// Proxy starts a proxy that passes everything on.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	p := &Proxy{count: map[string]int{}}
	next := s.HTTPClient()
	next.Transport.(*http.Transport).DisableKeepAlives = false
	next.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		fault, edit := p.fault, p.edit
		p.count[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v1/")]++
		p.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, s.URL+r.URL.RequestURI(), r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		out.Header, out.ContentLength = r.Header.Clone(), r.ContentLength
		resp, err := next.Do(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		if edit != nil {
			body = edit(strings.TrimPrefix(r.URL.Path, "/v1/"), body)
		}
		for k, v := range resp.Header {
			if k != "Content-Length" && w.Header()[k] == nil { // a fault may have set one of its own
				w.Header()[k] = v
			}
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(body)
	}))
	leaf := s.ca.Issue(t, sdktest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{*leaf.TLS}, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = silent()
	srv.StartTLS()
	t.Cleanup(func() {
		p.Set(nil)
		srv.CloseClientConnections()
		srv.Close()
		next.CloseIdleConnections()
	})
	p.URL = srv.URL
	return p
}

// Set sets the fault; nil passes everything on.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Edit changes the bodies of answers; nil leaves them alone.
func (p *Proxy) Edit(f func(path string, body []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edit = f
}

// Count returns how many requests there were since the last Reset whose "METHOD path" contains part.
func (p *Proxy) Count(part string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for k, v := range p.count {
		if strings.Contains(k, part) {
			n += v
		}
	}
	return n
}

// Reset sets the counts to zero.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.count)
}

// Status answers every request whose path contains part with a status and an error of Vault's form.
// retryAfter may be "".
func Status(part string, code int, retryAfter, message string) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"errors":["`+message+`"]}`)
		return true
	}
}

// Half answers with a promise of more than it sends, and drops the connection.
func Half(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "500")
	_, _ = io.WriteString(w, `{"data":{"keys":`)
	panic(http.ErrAbortHandler)
}

// Garbage answers 200 with what is not JSON.
func Garbage(w http.ResponseWriter, _ *http.Request) bool {
	_, _ = io.WriteString(w, "<html>hello</html>")
	return true
}

// Nothing never answers.
func Nothing(_ http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client has gone
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // a return would be an answer, which may reach a client that is about to give up
}

// Drop closes the connection without an answer.
func Drop(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// Gate holds requests until the returned function is called or the test's context ends.
func Gate(ctx context.Context) (Fault, func()) {
	open := make(chan struct{})
	return func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-open:
		case <-ctx.Done():
		case <-r.Context().Done():
		}
		return false
	}, sync.OnceFunc(func() { close(open) })
}
