package signer_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/signer"
)

// receiver is a real server that verifies what arrives and answers with the body it got.
type receiver struct {
	*httptest.Server
	verifier atomic.Pointer[signer.Verifier]
	last     atomic.Value // error
}

// serve starts a receiver over TLS, which speaks HTTP/2 if it may.
func serve(t testing.TB, h2 bool, change ...func(*signer.VerifierConfig)) *receiver {
	t.Helper()
	rc := &receiver{}
	rc.restart(t, change...)
	rc.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := rc.verifier.Load().Verify(r, signer.From{Peer: "a", Response: w})
		if err != nil {
			rc.last.Store(err)
			signer.WriteRefusal(w, err)
			return
		}
		defer got.Release()
		w.Header().Set("X-Proto", r.Proto)
		_, _ = io.Copy(w, r.Body)
	}))
	rc.EnableHTTP2 = h2
	rc.StartTLS()
	t.Cleanup(rc.Close)
	return rc
}

// restart gives the receiver a verifier that remembers nothing, as a new process would.
func (rc *receiver) restart(t testing.TB, change ...func(*signer.VerifierConfig)) {
	t.Helper()
	c := signer.VerifierConfig{
		Keys:      directory(t, signer.DirectoryPeer{Name: "a", Keys: []crypto.PublicKey{testKey(t, 1).Public()}}),
		Recipient: signer.Names("b.example"),
	}
	for _, f := range change {
		f(&c)
	}
	v, err := signer.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	rc.verifier.Store(v)
}

// sender signs afresh for every attempt, and obeys when it is asked to sign again.
type sender struct {
	*signer.Signer
	client *http.Client
	epoch  string
	again  int // how often it was asked
}

func newSender(t testing.TB, client *http.Client, clock func() time.Time) *sender {
	t.Helper()
	s, err := signer.New(signer.Config{Key: testKey(t, 1), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return &sender{Signer: s, client: client}
}

func (s *sender) send(ctx context.Context, method, url string, body []byte, op string) (*http.Response, []byte, error) {
	for attempt := 0; ; attempt++ {
		var r io.Reader
		if body != nil {
			r = bytes.NewReader(body)
		}
		req, err := http.NewRequestWithContext(ctx, method, url, r)
		if err != nil {
			return nil, nil, err
		}
		if err := s.Sign(req, signer.Audience{To: "b.example", Operation: op, Epoch: s.epoch}); err != nil {
			return nil, nil, err
		}
		resp, err := s.client.Do(req)
		if err != nil {
			return nil, nil, err
		}
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if signer.IsSignAgain(resp) && attempt == 0 {
			s.epoch = signer.EpochOf(resp)
			s.again++
			continue
		}
		return resp, data, err
	}
}

func TestMessagesPassOverBothVersionsOfHTTP(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", h2), func(t *testing.T) {
			srv := serve(t, h2)
			s := newSender(t, srv.Client(), nil)
			for _, c := range []struct {
				method, path string
				body         []byte
			}{
				{"POST", "/api/v1/sync/push", []byte("hello")},
				{"POST", "/api/v1/sync/push?a=b&c=%20d", bytes.Repeat([]byte("large"), 400_000)},
				{"POST", "/a%2Fb/c%20d//e", []byte{0, 1, 2}},
				{"POST", "/", []byte{}},
				{"GET", "/since?since=1", nil},
				{"GET", "", nil},
				{"DELETE", "/x", nil},
			} {
				resp, data, err := s.send(t.Context(), c.method, srv.URL+c.path, c.body, "op-1")
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != 200 || !bytes.Equal(data, c.body) {
					t.Errorf("%s %s: %d %.80q, %v", c.method, c.path, resp.StatusCode, data, srv.last.Load())
				}
				if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]; resp.StatusCode == 200 && resp.Header.Get("X-Proto") != want {
					t.Errorf("%s over %s", c.path, resp.Header.Get("X-Proto"))
				}
			}
			if s.again != 1 {
				t.Errorf("asked to sign again %d times, want once, by a receiver that has just started", s.again)
			}
		})
	}
}

func TestBodyOfUnknownLengthIsVerified(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		srv := serve(t, h2)
		s := newSender(t, srv.Client(), nil)
		if _, _, err := s.send(t.Context(), "GET", srv.URL, nil, ""); err != nil { // learns the epoch
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, struct{ io.Reader }{strings.NewReader("chunks")})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Sign(req, signer.Audience{To: "b.example", Epoch: s.epoch}); err != nil {
			t.Fatal(err)
		}
		req.ContentLength = -1
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || string(data) != "chunks" {
			t.Errorf("HTTP/2 %v: %d %q", h2, resp.StatusCode, data)
		}
	}
}

func TestTrailersGoWithABodyOfUnknownLength(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		got := make(chan http.Header, 1)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			got <- r.Trailer
		}))
		srv.EnableHTTP2 = h2
		srv.StartTLS()
		defer srv.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, struct{ io.Reader }{strings.NewReader("chunks")})
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Sum": {"1"}}
		if err := newNode(t).signer.Sign(req, signer.Audience{To: "b.example"}); err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if trailer := <-got; trailer.Get("X-Sum") != "1" {
			t.Errorf("HTTP/2 %v: trailers %v, want those of the request", h2, trailer)
		}
	}
}

func TestRefusalTellsTheTagAndNoMore(t *testing.T) {
	srv := serve(t, false)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 401 || signer.RefusalOf(resp) != signer.TagSignatureMissing || string(data) != "{\"error\":\"signature_missing\"}\n" {
		t.Errorf("%d %q %q", resp.StatusCode, signer.RefusalOf(resp), data)
	}
}

func TestRestartInTheMiddleOfAStreamLosesNothingAndOpensNoReplay(t *testing.T) {
	for name, skew := range map[string]time.Duration{
		"clocks agree":           0,
		"the sender is ahead":    20 * time.Second,
		"the sender is behind":   -20 * time.Second,
		"the sender is just off": -time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, true)
			s := newSender(t, srv.Client(), func() time.Time { return time.Now().Add(skew) })
			var accepted []*http.Request // as they were, to be replayed
			record := func(n int) {
				for range n {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader("x"))
					if err != nil {
						t.Fatal(err)
					}
					if err := s.Sign(req, signer.Audience{To: "b.example", Operation: "op-1", Epoch: s.epoch}); err != nil {
						t.Fatal(err)
					}
					resp, err := srv.Client().Do(req)
					if err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
					if signer.IsSignAgain(resp) {
						s.epoch = signer.EpochOf(resp)
						s.again++
						if resp, _, err = s.send(t.Context(), http.MethodPost, srv.URL, []byte("x"), "op-1"); err != nil {
							t.Fatal(err)
						}
					} else {
						accepted = append(accepted, req)
					}
					if resp.StatusCode != 200 {
						t.Fatalf("%d %v", resp.StatusCode, srv.last.Load())
					}
				}
			}
			record(20)
			srv.restart(t)
			record(20)
			if s.again != 2 {
				t.Errorf("asked to sign again %d times, want once per start", s.again)
			}
			for i, old := range accepted {
				req := old.Clone(t.Context())
				req.Body = io.NopCloser(strings.NewReader("x"))
				resp, err := srv.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if tag := signer.RefusalOf(resp); tag != signer.TagReplayed && tag != signer.TagSignAgain {
					t.Errorf("replay %d: %d %q", i, resp.StatusCode, tag)
				}
			}
		})
	}
}

func TestStalledBodyIsCutOff(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", h2), func(t *testing.T) {
			srv := serve(t, h2, func(c *signer.VerifierConfig) { c.BodyTimeout = 200 * time.Millisecond })
			s := newSender(t, srv.Client(), nil)
			if _, _, err := s.send(t.Context(), "GET", srv.URL, nil, ""); err != nil {
				t.Fatal(err)
			}
			body, feed := io.Pipe()
			defer func() { _ = feed.Close() }()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader("half of it"))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Sign(req, signer.Audience{To: "b.example", Epoch: s.epoch}); err != nil {
				t.Fatal(err)
			}
			req.Body = body
			go func() { _, _ = feed.Write([]byte("half")) }() // and no more
			resp, err := srv.Client().Do(req)
			if err != nil {
				// HTTP/1.1 may close the connection before the client has read the answer.
				var r *signer.Refusal
				if e, _ := srv.last.Load().(error); !errors.As(e, &r) || r.Tag != signer.TagBodyStalled {
					t.Fatalf("%v; the server says %v", err, srv.last.Load())
				}
				return
			}
			_ = resp.Body.Close()
			if tag := signer.RefusalOf(resp); tag != signer.TagBodyStalled || resp.StatusCode != http.StatusRequestTimeout {
				t.Errorf("%d %q", resp.StatusCode, tag)
			}
		})
	}
}

// stallingBody stalls until it is closed.
type stallingBody struct {
	closed chan struct{}
	once   sync.Once
}

func (b *stallingBody) Read([]byte) (int, error) { <-b.closed; return 0, io.ErrClosedPipe }

func (b *stallingBody) Close() error { b.once.Do(func() { close(b.closed) }); return nil }

func TestStalledBodyEndsWithTheContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := newNode(t)
	for name, verify := range map[string]func(r *http.Request) error{
		"Verify": func(r *http.Request) error { _, err := n.verifier.Verify(r, signer.From{Peer: "a"}); return err },
		"VerifyStream": func(r *http.Request) error {
			if _, err := n.verifier.VerifyStream(r, signer.From{Peer: "a"}, 0); err != nil {
				return err
			}
			_, err := r.Body.Read(make([]byte, 1))
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r := n.signed(t, "hello").WithContext(ctx)
		r.Body = &stallingBody{closed: make(chan struct{})}
		time.AfterFunc(50*time.Millisecond, cancel)
		if tag := tagOf(t, verify(r)); tag != signer.TagBodyStalled {
			t.Errorf("%s: got %q", name, tag)
		}
	}
}

func TestBodyThatBreaksOffIsRefused(t *testing.T) {
	n := newNode(t)
	r := n.signed(t, "hello")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("hel"), errReader{}))
	_, err := n.verifier.Verify(r, signer.From{Peer: "a"})
	if tag := tagOf(t, err); tag != signer.TagBodyUnreadable {
		t.Errorf("got %v", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestProxyThatRewritesTheAuthority(t *testing.T) {
	for _, configured := range []bool{false, true} {
		srv := serve(t, false, func(c *signer.VerifierConfig) {
			if configured {
				c.Authority = "b.example"
			}
		})
		target, err := url.Parse(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: srv.Client().Transport,
		})
		client := proxy.Client()
		client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, proxy.Listener.Addr().String())
		}
		resp, _, err := newSender(t, client, nil).send(t.Context(), "POST", "http://b.example/push?a=b", []byte("hello"), "op")
		proxy.Close()
		if err != nil {
			t.Fatal(err)
		}
		if (resp.StatusCode == 200) != configured {
			t.Errorf("configured %v: %d %q", configured, resp.StatusCode, signer.RefusalOf(resp))
		}
	}
}

// raw sends bytes as they are to a server over TLS and HTTP/1.1, and returns the answer.
func raw(t *testing.T, srv *receiver, text string) *http.Response {
	t.Helper()
	conf := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.NextProtos = nil
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestHeaderOnTheWireHasOneReading(t *testing.T) {
	store := func(c *signer.VerifierConfig) { c.Replay = lasting{newCache(t, signer.ReplayCacheConfig{})} }
	for name, c := range map[string]struct {
		change func(h string) string
		want   signer.Tag
		status int
	}{
		"as it is":              {func(h string) string { return h }, "", 200},
		"a name in lower case":  {func(h string) string { return strings.Replace(h, "Federation-To", "federation-to", 1) }, "", 200},
		"spaces around a value": {func(h string) string { return strings.Replace(h, "Federation-To: ", "Federation-To:  \t ", 1) }, "", 200},
		"spaces after a value": {func(h string) string {
			return strings.Replace(h, "b.example\r\nFederation-Op", "b.example  \r\nFederation-Op", 1)
		}, "", 200},
		"a folded Content-Type":    {func(h string) string { return strings.Replace(h, "json; charset", "json;\r\n   charset", 1) }, "", 200},
		"a folded Signature-Input": {func(h string) string { return strings.Replace(h, ";expires", "\r\n ;expires", 1) }, signer.TagSignatureMalformed, 401},
		"a repeated field": {func(h string) string {
			return strings.Replace(h, "Federation-Op: op-1\r\n", "Federation-Op: op-1\r\nFederation-Op: op-1\r\n", 1)
		}, signer.TagFieldDoubled, 401},
		"a repeated Host":            {func(h string) string { return "Host: b.example\r\n" + h }, "", 400},
		"a space before the colon":   {func(h string) string { return strings.Replace(h, "Federation-To:", "Federation-To :", 1) }, "", 400},
		"a header that is too large": {func(h string) string { return h + "X: " + strings.Repeat("x", 1<<20+8192) + "\r\n" }, "", 431},
		"a large Signature": {func(h string) string {
			return strings.Replace(h, "Signature: sig", "Signature: "+strings.Repeat("x", 900<<10), 1)
		}, signer.TagSignatureOversized, 401},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, false, store)
			s := newSender(t, nil, nil)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://b.example/p", strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json; charset=utf-8")
			if err := s.Sign(req, signer.Audience{To: "b.example", Operation: "op-1"}); err != nil {
				t.Fatal(err)
			}
			var h bytes.Buffer
			if err := req.Header.Write(&h); err != nil {
				t.Fatal(err)
			}
			resp := raw(t, srv, "POST /p HTTP/1.1\r\nHost: b.example\r\nContent-Length: 5\r\nConnection: close\r\n"+c.change(h.String())+"\r\nhello")
			if resp.StatusCode != c.status || signer.RefusalOf(resp) != c.want {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, signer.RefusalOf(resp), c.status, c.want)
			}
		})
	}
}
