package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

type closeCounter struct {
	io.Reader
	closed *atomic.Int64
}

func (c closeCounter) Close() error { c.closed.Add(1); return nil }

func TestTheBodyIsClosedInEveryCase(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	down := &node{name: "down", addr: gone.Addr().String()}
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer(), down.peer()}})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		to   *node
		kind transport.Kind
		bad  bool
	}{
		{name: "success", ctx: t.Context(), to: b},
		{name: "success with an operation id", ctx: transport.WithOperation(t.Context(), "op"), to: b},
		{name: "canceled", ctx: canceled, to: b, kind: transport.KindCanceled},
		{name: "unreachable", ctx: t.Context(), to: down, kind: transport.KindUnreachable},
		{name: "unreachable with an operation id", ctx: transport.WithOperation(t.Context(), "op"), to: down, kind: transport.KindUnreachable},
		{name: "no peer", ctx: t.Context(), to: &node{addr: "127.0.0.1:1"}, kind: transport.KindNotPeer},
		{name: "invalid header", ctx: t.Context(), to: b, bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var closed atomic.Int64
			req := request(t, tc.ctx, "POST", tc.to, nil)
			open := func() (io.ReadCloser, error) { return closeCounter{strings.NewReader("hello"), &closed}, nil }
			req.Body, _ = open()
			req.GetBody, req.ContentLength = open, 5
			if tc.bad {
				req.Header["Bad Header"] = []string{"x"}
			}
			resp, err := a.tr.RoundTrip(req)
			switch {
			case err == nil:
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if tc.kind != 0 || tc.bad {
					t.Error("no error")
				}
			case tc.kind != 0:
				wantKind(t, err, tc.kind)
				fallthrough
			default:
				if !transport.Unsent(err) {
					t.Errorf("%v counts as written", err)
				}
			}
			eventually(t, "body closed", func() bool { return closed.Load() >= 1 })
			if n := closed.Load(); n != 1 {
				t.Errorf("closed %d times", n)
			}
		})
	}
	mustSend(t, a, b, "x")
	eventually(t, "nothing in flight", func() bool { return peerStats(t, a.tr, "b").InFlight == [2]int{} })
}

func TestContextsEndRequests(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p, MaxConns: 1}, nil)
		arrived := make(chan struct{}, 10)
		b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-r.Context().Done()
		}))
		join(t, ca, a, b)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, _, err := send(ctx, a, b, "")
			first <- err
		}()
		<-arrived
		if p == transport.HTTP1 { // the only connection is taken
			short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer stop()
			_, _, err := send(short, a, b, "")
			wantKind(t, err, transport.KindTimeout)
			if !transport.Unsent(err) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting for a connection ended with %v", err)
			}
		}
		cancel()
		err := <-first
		wantKind(t, err, transport.KindCanceled)
		if transport.Unsent(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

func TestAContextThatEndsInPrepareIsNoFaultOfIt(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{Prepare: func(req *http.Request, _ transport.Peer, _ int) error {
		<-req.Context().Done()
		return req.Context().Err()
	}}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	if err := a.tr.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _, err := send(ctx, a, b, "x")
	wantKind(t, err, transport.KindTimeout)
	if !transport.Unsent(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want it unsent at the end of its context", err)
	}
}

func TestLanesNeverShareAConnection(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p}, nil)
		b := newNode(t, "b", transport.Options{}, nil)
		join(t, ca, a, b)
		for range 3 {
			mustSend(t, a, b, "x")
			if _, _, err := send(transport.WithLane(t.Context(), transport.Bulk), a, b, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if st := peerStats(t, a.tr, "b"); st.Open != [2]int{1, 1} || st.Reused != 4 {
			t.Errorf("open %v, reused %d", st.Open, st.Reused)
		}
	})
}

func TestOnlyPeersAreSpokenTo(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	var elsewhere atomic.Int64
	other := newNode(t, "other", transport.Options{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+other.addr+"/steal", http.StatusTemporaryRedirect)
	}))
	join(t, ca, a, b)
	client := &http.Client{Transport: a.tr}
	_, err := client.Post("https://"+b.addr+"/x", "text/plain", strings.NewReader("secret"))
	wantKind(t, err, transport.KindNotPeer)
	var ue *url.Error
	if !errors.As(err, &ue) || !errors.Is(err, transport.ErrPermission) || elsewhere.Load() != 0 {
		t.Errorf("%v, %d requests elsewhere", err, elsewhere.Load())
	}
	for _, u := range []string{"http://" + b.addr, "https://example.com/", "https://127.0.0.1:1/"} {
		_, err := client.Get(u)
		wantKind(t, err, transport.KindNotPeer)
	}
	if n := a.tr.Stats().NotPeer; n != 4 {
		t.Errorf("%d counted, want 4", n)
	}
}

func TestShutdownDrains(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	release := make(chan struct{})
	b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "end")
	}))
	join(t, ca, a, b)
	resp, err := a.tr.RoundTrip(request(t, t.Context(), "GET", b, nil))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.tr.Shutdown(context.Background()) }()
	eventually(t, "new requests refused", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, _, err := send(ctx, a, b, "")
		return transport.KindOf(err) == transport.KindClosed && errors.Is(err, transport.ErrClosed)
	})
	select {
	case err := <-done:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	close(release)
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "end" {
		t.Errorf("got %q, %v", got, err)
	}
	resp.Body.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := a.tr.Close(); err != nil {
		t.Error(err)
	}
	if err := a.tr.Update(t.Context(), transport.Material{}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
}

func TestShutdownIsBoundedAndCloseEndsEverything(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p}, nil)
		b := newNode(t, "b", transport.Options{}, http.HandlerFunc(hanging))
		join(t, ca, a, b)
		resp, err := a.tr.RoundTrip(request(t, t.Context(), "GET", b, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := a.tr.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		_, err = io.ReadAll(resp.Body)
		wantKind(t, err, transport.KindClosed)
		_, _, err = send(t.Context(), a, b, "")
		wantKind(t, err, transport.KindClosed)
	})
}

func TestAPeerWithoutTLS13IsToldFromOthers(t *testing.T) {
	ca := sdktest.NewCA(t)
	id := ca.Issue(t, sdktest.Leaf{DNS: []string{"old.test"}})
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*id.TLS}}
	old.StartTLS()
	defer old.Close()
	to := &node{name: "old", addr: old.Listener.Addr().String()}
	for _, admit := range []bool{false, true} {
		a := newNode(t, "a", transport.Options{TLS12: admit}, nil)
		peer := to.peer()
		peer.ServerName = "old.test"
		update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{peer}})
		resp, err := a.tr.RoundTrip(request(t, t.Context(), "GET", to, nil))
		if err == nil {
			resp.Body.Close()
		}
		var e *transport.Error
		if admit != (err == nil) || !admit && (!errors.As(err, &e) || e.Kind != transport.KindTLS || !strings.Contains(e.Error(), "Options.TLS12")) {
			t.Errorf("TLS12 %v: got %v", admit, err)
		}
	}
}
