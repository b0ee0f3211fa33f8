package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A rude server reads a whole HTTP/1.1 request, counts it, and then does what answer says with the connection.
type rude struct {
	*node
	requests atomic.Int64
}

func newRude(t *testing.T, ca *sdktest.CA, client *node, answer func(n int64, c net.Conn)) *rude {
	t.Helper()
	r := &rude{node: &node{name: "rude"}}
	r.tr, r.events = newTransport(t, transport.Options{})
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = inner.Addr().String()
	l := r.tr.Listener(countingListener{inner, &r.conns}, "http/1.1")
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					answer(r.requests.Add(1), c)
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		_ = r.tr.Close()
		wg.Wait()
	})
	update(t, r.tr, transport.Material{Identity: r.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{client.peer()}})
	return r
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestOneAttemptIsOneAttempt(t *testing.T) {
	ca := sdktest.NewCA(t)
	for _, tc := range []struct {
		name   string
		method string
		body   string
		header string
		op     string
		reused bool // the connection carried a request before
		want   int64
	}{
		{name: "POST", method: "POST", body: "x", want: 1},
		{name: "POST on a reused connection", method: "POST", body: "x", reused: true, want: 1},
		{name: "GET on a reused connection", method: "GET", reused: true, want: 1},
		{name: "POST with an idempotency key", method: "POST", body: "x", header: "Idempotency-Key", reused: true, want: 1},
		{name: "POST with an operation id", method: "POST", body: "x", op: "op-1", want: 3},
		{name: "GET with an operation id", method: "GET", op: "op-1", reused: true, want: 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var prepared sync.Map
			var n atomic.Int64
			a := newNode(t, "a", transport.Options{Prepare: func(req *http.Request, p transport.Peer, attempt int) error {
				prepared.Store(attempt, p.Name)
				n.Add(1)
				return nil
			}}, nil)
			var dying atomic.Bool
			b := newRude(t, ca, a, func(_ int64, c net.Conn) {
				if dying.Load() {
					_ = c.Close()
					return
				}
				_, _ = io.WriteString(c, okAnswer)
			})
			update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
			do := func() error {
				ctx, cancel := context.WithTimeout(transport.WithOperation(t.Context(), tc.op), patient)
				defer cancel()
				var body io.Reader
				if tc.body != "" {
					body = strings.NewReader(tc.body)
				}
				req := request(t, ctx, tc.method, b.node, body)
				if tc.header != "" {
					req.Header.Set(tc.header, "x")
				}
				resp, err := a.tr.RoundTrip(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				return err
			}
			if tc.reused {
				if err := do(); err != nil {
					t.Fatal(err)
				}
			}
			dying.Store(true)
			b.requests.Store(0)
			n.Store(0)
			err := do()
			wantKind(t, err, transport.KindBroken)
			var te *transport.Error
			if !errors.As(err, &te) || !te.Written || te.Peer != "rude" || int64(te.Attempts) != tc.want {
				t.Errorf("error %+v, want written, of peer rude, after %d attempts", te, tc.want)
			}
			if got := b.requests.Load(); got != tc.want {
				t.Errorf("the server saw %d requests, want %d", got, tc.want)
			}
			if n.Load() != tc.want {
				t.Errorf("%d prepared, want %d", n.Load(), tc.want)
			}
			if name, _ := prepared.Load(int(tc.want)); name != "rude" {
				t.Errorf("attempt %d was not prepared for its peer", tc.want)
			}
		})
	}
}

func TestAnOperationOutlivesItsConnection(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	half := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"
	for name, first := range map[string]string{"no answer": "", "half a head": "HTTP/1.1 20", "half a body": half} {
		b := newRude(t, ca, a, func(n int64, c net.Conn) {
			if n == 1 {
				_, _ = io.WriteString(c, first)
				_ = c.Close()
				return
			}
			_, _ = io.WriteString(c, okAnswer)
		})
		update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
		resp, err := a.tr.RoundTrip(request(t, transport.WithOperation(t.Context(), "op"), "POST", b.node, strings.NewReader("x")))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != "ok" || err != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if st := peerStats(t, a.tr, "rude"); st.Resent != 1 {
			t.Errorf("%s: stats %+v, want one resent", name, st)
		}
		// net/http is done with a connection on a goroutine of its own.
		eventually(t, name+": none in flight", func() bool { return peerStats(t, a.tr, "rude").InFlight == [2]int{} })
	}
}

// A connection that died unnoticed while idle fails no request, with or without an operation id, as long as
// nothing was written to it.
func TestARequestThatWasNeverWrittenGoesElsewhere(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newRude(t, ca, a, func(_ int64, c net.Conn) {
		_, _ = io.WriteString(c, okAnswer)
		_ = c.Close() // at once, though the client was not told
	})
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	unsent := 0
	for i := range 200 {
		resp, err := a.tr.RoundTrip(request(t, t.Context(), "POST", b.node, strings.NewReader("x")))
		if err != nil {
			// It may still have been written just before the end was seen; then, and only then, it must fail.
			if transport.Unsent(err) {
				t.Fatalf("request %d failed though it was never written: %v", i, err)
			}
			unsent++
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	t.Logf("%d of 200 were written to a dying connection", unsent)
}

func TestPrepareSeesEachAttemptAndChangesNothingOfTheCallers(t *testing.T) {
	ca := sdktest.NewCA(t)
	var sent []string
	a := newNode(t, "a", transport.Options{Prepare: func(req *http.Request, p transport.Peer, attempt int) error {
		body, err := req.GetBody()
		if err != nil {
			return err
		}
		b, _ := io.ReadAll(body)
		req.Header.Set("X-Sig", fmt.Sprintf("%s-%d-%s", p.Name, attempt, b))
		sent = append(sent, req.Header.Get("X-Sig"))
		return nil
	}}, nil)
	b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Sig"))
	}))
	join(t, ca, a, b)
	req := request(t, t.Context(), "POST", b, strings.NewReader("body"))
	resp, err := a.tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(got) != "b-1-body" || len(sent) != 1 {
		t.Errorf("got %q after %d calls", got, len(sent))
	}
	if len(req.Header) != 0 || resp.Request != req {
		t.Errorf("the caller's request was changed: %v", req.Header)
	}
}

func TestAFailingPrepareFailsTheRequestUnwritten(t *testing.T) {
	ca := sdktest.NewCA(t)
	no := errors.New("no key")
	fail := true
	a := newNode(t, "a", transport.Options{Prepare: func(*http.Request, transport.Peer, int) error {
		if fail {
			return no
		}
		return nil
	}}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	_, _, err := send(t.Context(), a, b, "x")
	wantKind(t, err, transport.KindPrepare)
	if !errors.Is(err, no) || !transport.Unsent(err) || b.hits.Load() != 0 {
		t.Errorf("%v, %d requests served", err, b.hits.Load())
	}
	fail = false
	mustSend(t, a, b, "x")
	if n := peerStats(t, a.tr, "b").Handshakes; n != 1 {
		t.Errorf("%d handshakes: the connection was thrown away", n)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAWrapperStandsAroundEachAttemptAndCannotRepeatIt(t *testing.T) {
	ca := sdktest.NewCA(t)
	var order []string
	twice := false
	a := newNode(t, "a", transport.Options{
		Wrap: func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				order = append(order, "wrap")
				r.Header.Set("X-Trace", "1")
				resp, err := next.RoundTrip(r)
				if twice {
					if err == nil {
						resp.Body.Close()
					}
					return next.RoundTrip(r)
				}
				return resp, err
			})
		},
		Prepare: func(r *http.Request, _ transport.Peer, _ int) error {
			order = append(order, "prepare "+r.Header.Get("X-Trace"))
			return nil
		},
	}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	mustSend(t, a, b, "x")
	if got := strings.Join(order, ", "); got != "wrap, prepare 1" {
		t.Errorf("order %q", got)
	}
	twice = true
	if _, _, err := send(t.Context(), a, b, ""); err == nil {
		t.Error("a wrapper sent one attempt twice")
	}
	if n := b.hits.Load(); n != 2 {
		t.Errorf("the server saw %d requests, want 2", n)
	}
	eventually(t, "nothing in flight", func() bool { return peerStats(t, a.tr, "b").InFlight == [2]int{} })
}

func TestAnEgressProxyIsAskedForATunnel(t *testing.T) {
	ca := sdktest.NewCA(t)
	var auth, target atomic.Value
	var refuse atomic.Bool
	pl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{ErrorLog: silentLog, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.Store(r.Header.Get("Proxy-Authorization"))
		target.Store(r.Host)
		if r.Method != http.MethodConnect || refuse.Load() {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(up, c); up.Close() }()
		go func() { _, _ = io.Copy(c, up); c.Close() }()
	})}
	go func() { _ = proxy.Serve(pl) }()
	defer proxy.Close()
	u := &url.URL{Scheme: "http", Host: pl.Addr().String(), User: url.UserPassword("me", "secret")}
	a := newNode(t, "a", transport.Options{Proxy: func(p transport.Peer) (*url.URL, error) {
		if p.Name != "b" {
			t.Errorf("asked for %q", p.Name)
		}
		return u, nil
	}}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	mustSend(t, a, b, "x")
	if auth.Load() != "Basic bWU6c2VjcmV0" || target.Load() != b.addr {
		t.Errorf("authorization %q, target %q", auth.Load(), target.Load())
	}
	refuse.Store(true)
	_, err = a.tr.Dial(t.Context(), "b")
	wantKind(t, err, transport.KindUnreachable)
	if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "403") {
		t.Errorf("error %q must say why and hide the password", err)
	}
}

func TestPlaintextPeersNeedPermission(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "plain") })}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	m := transport.Material{Peers: []transport.Peer{{Name: "p", URL: "http://" + l.Addr().String()}}}
	strict, _ := newTransport(t, transport.Options{})
	if err := strict.Update(t.Context(), m); !errors.Is(err, transport.ErrConfig) || !strings.Contains(err.Error(), "AllowPlaintext") {
		t.Errorf("%v", err)
	}
	tr, _ := newTransport(t, transport.Options{AllowPlaintext: true})
	update(t, tr, m)
	resp, err := tr.RoundTrip(mustRequest(t, "http://"+l.Addr().String()+"/"))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(got) != "plain" || resp.TLS != nil {
		t.Errorf("got %q", got)
	}
}

func mustRequest(t testing.TB, u string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestWithoutMaterialNothingIsSentOrServed(t *testing.T) {
	tr, _ := newTransport(t, transport.Options{})
	_, err := tr.RoundTrip(mustRequest(t, "https://b.example/"))
	wantKind(t, err, transport.KindUnreachable)
	if err := tr.Warm(t.Context()); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("Warm: %v", err)
	}
	if _, err := tr.Identify(&tls.ConnectionState{}); err == nil {
		t.Error("identified a peer")
	}
	if _, err := tr.ClientTLS("b"); err == nil {
		t.Error("a configuration for an unknown peer")
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

func TestWarmDialsEachPeerOnceAndReportsTheRest(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	c := newNode(t, "c", transport.Options{}, nil)
	join(t, ca, a, b, c)
	c.stop()
	for range 2 {
		err := a.tr.Warm(t.Context())
		var te *transport.Error
		if !errors.As(err, &te) || te.Peer != "c" || te.Kind != transport.KindUnreachable {
			t.Fatalf("Warm: %v", err)
		}
	}
	mustSend(t, a, b, "x")
	if st := peerStats(t, a.tr, "b"); st.Handshakes != 1 || st.Warmed != 1 || st.Warm != 1 || st.Cold != 0 {
		t.Errorf("stats %+v, want one warmed connection, used warm", st)
	}
}
