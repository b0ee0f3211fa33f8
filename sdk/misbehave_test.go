package sdk_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// newBadNode is a mesh of two in whose place of node-1 a handler answers node-0.
func newBadNode(t *testing.T, h http.HandlerFunc, configure func(*sdk.Builder)) (*sdktest.MeshNetwork, *sdktest.MeshNode) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2, Configure: func(i int, b *sdk.Builder) {
		if i == 0 {
			b.Peers[0].URL = "https://" + l.Addr().String()
			if configure != nil {
				configure(b)
			}
		}
	}})
	pool := x509.NewCertPool()
	pool.AddCert(mesh.CA.Certificate)
	var running sync.RWMutex // each handler holds it for reading
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if running.TryRLock() {
				defer running.RUnlock()
				h(w, r)
			}
		}),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{*mesh.Nodes[1].Identity.TLS}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		},
	}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		_ = srv.Close()
		running.Lock() // for good: a handler that still writes, or compresses what nobody reads, is waited for
	})
	return mesh, mesh.Nodes[0]
}

// endless writes until nobody reads any more.
func endless(w http.ResponseWriter, chunk []byte, pause time.Duration) {
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		time.Sleep(pause)
	}
}

func TestAnAnswerThatIsNoAckIsNone(t *testing.T) {
	m := sdk.Message{Operation: "op", Body: []byte("body")}
	ack := func(change func(*quorum.Ack)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			a := &quorum.Ack{
				Operation: "op", Digest: quorum.DigestOf(m.Body), Sender: "node-0.mesh", Recipient: "node-1.mesh",
				Verdict: quorum.Applied, Time: time.Now().Truncate(time.Millisecond),
			}
			change(a)
			b, err := sdk.AnswerWith(a)
			if err != nil {
				panic(err)
			}
			w.Header().Set("Content-Type", sdk.MediaAnswer)
			_, _ = w.Write(b)
		}
	}
	status := func(code int, media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   quorum.Kind
	}{
		"another operation":  {ack(func(a *quorum.Ack) { a.Operation = "other" }), quorum.Drifted},
		"another digest":     {ack(func(a *quorum.Ack) { a.Digest[0]++ }), quorum.Drifted},
		"another sender":     {ack(func(a *quorum.Ack) { a.Sender = "node-9.mesh" }), quorum.Drifted},
		"not signed":         {ack(func(*quorum.Ack) {}), quorum.Unknown},
		"200 and nothing":    {status(200, sdk.MediaAnswer, ""), quorum.Unknown},
		"200 and garbage":    {status(200, sdk.MediaAnswer, "FPA\x01 garbage"), quorum.Unknown},
		"200 and a page":     {status(200, "text/html", "<html>ok</html>"), quorum.Unknown},
		"200, no result":     {status(200, sdk.MediaAnswer, "FPA\x01\x00\x00"), quorum.Unknown},
		"201 with an answer": {status(201, sdk.MediaAnswer, "FPA\x01\x00\x01"), quorum.Unknown},
		"202":                {status(202, sdk.MediaAnswer, ""), quorum.Unknown},
		"204":                {status(204, "", ""), quorum.Unknown},
		"a redirect":         {status(307, "", ""), quorum.Refused},
		"gateway timeout":    {status(504, "", ""), quorum.Unknown},
		"bad gateway":        {status(502, "", ""), quorum.Unknown},
		"not found":          {status(404, "", ""), quorum.Refused},
		"not now":            {status(503, "", ""), quorum.Refused},
		"a huge answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", sdk.MediaAnswer)
			endless(w, make([]byte, 64<<10), 0)
		}, quorum.Unknown},
		"an answer by drips": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", sdk.MediaAnswer)
			endless(w, []byte("F"), 50*time.Millisecond)
		}, quorum.Unknown},
		"a refusal by drips": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			endless(w, []byte("F"), 50*time.Millisecond)
		}, quorum.Unknown},
		"an answer that ends": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("FPA\x01"))
		}, quorum.Unknown},
		"gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", sdk.MediaAnswer)
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write([]byte("FPA\x01\x00\x01"))
			_ = z.Close()
		}, quorum.Unknown},
		"a bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", sdk.MediaAnswer)
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 100 {
				if _, err := z.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
			_ = z.Close()
		}, quorum.Unknown},
		"a hang-up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, quorum.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, fed := newBadNode(t, c.answer, func(b *sdk.Builder) {
				if strings.Contains(name, "drips") { // the others are answered
					b.Quorum.AckTimeout = 5 * time.Second
				}
			})
			_, err := push(t, fed, m)
			var not *quorum.NotMetError
			if !errors.As(err, &not) {
				t.Fatalf("got %v", err)
			}
			if got := not.Outcomes[1]; got.Kind != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
			if depth := fed.Status().Peers[0].Outbox.Depth; depth != 1 {
				t.Errorf("the outbox holds %d messages", depth)
			}
		})
	}
}

func TestPushAllReportsEveryMessage(t *testing.T) {
	events := func(yield func(sdk.Message) bool) {
		for i := range 200 {
			m := sdk.Message{Operation: fmt.Sprint("op-", i), Body: []byte("x")}
			switch i {
			case 0, 70:
				m.Body = nil
			case 199:
				m.Body = make([]byte, sdk.MaxMessage+1)
			}
			if !yield(m) {
				return
			}
		}
	}
	mesh := sdktest.Mesh(t, 2)
	var told []sdk.BulkOutcome
	last := sdk.BulkProgress{}
	results, err := mesh.Nodes[0].PushAll(t.Context(), events, sdk.BulkOptions{Progress: func(p sdk.BulkProgress) {
		told, last = append(told, p.Outcomes...), p
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r := results[0]; r.Done != 200 || r.Applied != 197 || len(r.Failed) != 3 || last.Done != 200 || last.Acked != 197 {
		t.Errorf("result %+v, last progress %d of %d", r, last.Acked, last.Done)
	}
	for i, o := range told {
		if want := fmt.Sprint("op-", i); o.Operation != want || (o.Err == nil) != (o.Kind == quorum.Acked) {
			t.Fatalf("outcome %d is %+v", i, o)
		}
	}
	if len(told) != 200 {
		t.Errorf("progress told of %d messages", len(told))
	}
}

// One message over which the peer breaks is its own failure, and no reason to give up the others.
func TestPushAllSurvivesAMessageOverWhichThePeerBreaks(t *testing.T) {
	node, fed := newMemoryNode(t)
	node.answer = func(_ int, w http.ResponseWriter, ids []string) bool {
		for _, id := range ids {
			if id == "m-40" {
				w.WriteHeader(500)
				return true
			}
		}
		return false
	}
	var told int
	results, err := fed.PushAll(t.Context(), func(yield func(sdk.Message) bool) {
		for i := range 100 {
			if !yield(memory(fmt.Sprint("m-", i))) {
				return
			}
		}
	}, sdk.BulkOptions{Progress: func(p sdk.BulkProgress) { told = p.Done }})
	if r := results[0]; err != nil || r.Done != 100 || r.Applied != 99 || len(r.Failed) != 1 || r.Failed[0].Operation != "m-40" || told != 100 {
		t.Errorf("%+v, %v; told of %d", r, err, told)
	}
}

// What a peer has acked before it broke is in the result.
func TestPushAllReportsWhatWasAckedBeforeThePeerBroke(t *testing.T) {
	node, fed := newMemoryNode(t)
	node.answer = func(n int, w http.ResponseWriter, ids []string) bool {
		switch {
		case n == 1:
			w.WriteHeader(500) // the batch: it is sent in halves
		case ids[0] == "m-0":
			return false
		default:
			w.WriteHeader(403)
		}
		return true
	}
	var told int
	results, err := fed.PushAll(t.Context(), func(yield func(sdk.Message) bool) {
		_ = yield(memory("m-0")) && yield(memory("m-1"))
	}, sdk.BulkOptions{Progress: func(p sdk.BulkProgress) { told += len(p.Outcomes) }})
	if r := results[0]; err == nil || r.Err == nil || r.Done != 1 || r.Applied != 1 || told != 1 {
		t.Errorf("%+v, %v; told of %d", r, err, told)
	}
}

func TestPushAllGivesUpAPeerThatBreaksOverEverything(t *testing.T) {
	node, fed := newMemoryNode(t)
	node.answer = func(_ int, w http.ResponseWriter, _ []string) bool {
		w.WriteHeader(500)
		return true
	}
	results, err := fed.PushAll(t.Context(), func(yield func(sdk.Message) bool) {
		for i := range 100 {
			if !yield(memory(fmt.Sprint("m-", i))) {
				return
			}
		}
	}, sdk.BulkOptions{})
	if r := results[0]; err == nil || !strings.Contains(err.Error(), "500") || r.Applied != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	node.mu.Lock()
	defer node.mu.Unlock()
	if node.requests > 60 {
		t.Errorf("%d requests", node.requests)
	}
}

func TestPushAllEndsWithItsContext(t *testing.T) {
	mesh := sdktest.Mesh(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	results, err := mesh.Nodes[0].PushAll(ctx, many(1000), sdk.BulkOptions{Progress: func(p sdk.BulkProgress) {
		if p.Done >= 128 {
			cancel()
		}
	}})
	if r := results[0]; !errors.Is(err, context.Canceled) || r.Done != 128 || r.Applied != 128 {
		t.Errorf("%+v, %v", r, err)
	}
}

// pages answers pulls with what f gives for a cursor.
func pages(f func(cursor string) []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", sdk.MediaPage)
		_, _ = w.Write(f(r.URL.Query().Get("cursor")))
	}
}

func TestPullEndsWhereAPeerLeadsItInCircles(t *testing.T) {
	m := sdk.Message{Operation: "op", Body: []byte("x"), ContentType: "text/plain"}
	for name, f := range map[string]func(string) []byte{
		"on the spot": func(string) []byte { return sdk.PageWith("a", true, m) },
		"there and back": func(cursor string) []byte {
			return sdk.PageWith(map[string]string{"": "a", "a": "b", "b": "a"}[cursor], true, m)
		},
		"back to the start": func(cursor string) []byte { return sdk.PageWith(map[string]string{"": "a", "a": ""}[cursor], true, m) },
		"in a large circle": func(cursor string) []byte {
			n, _ := strconv.Atoi(cursor)
			return sdk.PageWith(fmt.Sprint((n+1)%100), true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const enough = 300
			var asked atomic.Int64
			around := pages(f)
			_, fed := newBadNode(t, func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) > enough { // ends a pull that would go on for ever
					w.WriteHeader(http.StatusForbidden)
					return
				}
				around(w, r)
			}, nil)
			results, err := fed.Pull(t.Context(), sdk.PullOptions{}, func(context.Context, sdk.Page) error { return nil })
			if !errors.Is(err, sdk.ErrMaterial) {
				t.Errorf("after %d requests: %+v, %v", asked.Load(), results, err)
			}
		})
	}
}

func TestPullKeepsItsPlaceWhenAPeerHasNothingMore(t *testing.T) {
	m := sdk.Message{Operation: "op", Body: []byte("x"), ContentType: "text/plain"}
	for name, f := range map[string]func(string) []byte{
		"an empty page":    func(string) []byte { return sdk.PageWith("", false) },
		"one last message": func(string) []byte { return sdk.PageWith("", false, m) },
	} {
		t.Run(name, func(t *testing.T) {
			_, fed := newBadNode(t, pages(f), nil)
			results, err := fed.Pull(t.Context(), sdk.PullOptions{Cursors: map[string]string{fed.Peers()[0].ID: "page-7"}}, func(_ context.Context, p sdk.Page) error {
				if p.Next != "page-7" {
					t.Errorf("a page that leads to %q", p.Next)
				}
				return nil
			})
			if err != nil || results[0].Cursor != "page-7" {
				t.Errorf("%+v, %v", results, err)
			}
		})
	}
}

func TestPullRefusesPagesThatAreNone(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", sdk.MediaPage)
			endless(w, make([]byte, 1<<20), 0)
		},
		"another type": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(sdk.PageWith("", false)) },
		"garbage":      pages(func(string) []byte { return []byte("FPG\x01 garbage") }),
		"no cursor":    pages(func(string) []byte { return sdk.PageWith("", true) }),
	} {
		t.Run(name, func(t *testing.T) {
			_, fed := newBadNode(t, h, nil)
			_, err := fed.Pull(t.Context(), sdk.PullOptions{}, func(context.Context, sdk.Page) error {
				t.Error("a page was taken")
				return nil
			})
			if !errors.Is(err, sdk.ErrMaterial) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnErrorOfTheApplicationThatIsNilInsideIsARefusal(t *testing.T) {
	var none *sdk.Rejection
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2})
	mesh.Nodes[1].Refuse(none)
	_, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
	var not *quorum.NotMetError
	if !errors.As(err, &not) || not.Outcomes[1].Kind != quorum.Refused {
		t.Errorf("got %v", err)
	}
}
