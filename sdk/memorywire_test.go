package sdk_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// A memoryNode answers on the ai-memory wire as existing nodes do, and checks every request as they do. answer,
// where set, misbehaves in place of the first answers.
type memoryNode struct {
	key func() ed25519.PublicKey

	mu       sync.Mutex
	problems []string
	taken    []string
	requests int
	answer   func(n int, w http.ResponseWriter, ids []string) bool // whether it answered
	pages    map[string]string                                     // by since
}

func (s *memoryNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	problem := func(format string, args ...any) { s.problems = append(s.problems, fmt.Sprintf(format, args...)) }
	head, _, _ := strings.Cut(r.Header.Get("X-Memory-Sig"), ";")
	sig, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(head, "ed25519="))
	signed := append(append(slices.Clone(body), 0), r.Header.Get("X-Memory-Nonce")...)
	if err != nil || !ed25519.Verify(s.key(), signed, sig) {
		problem("signature %q", head)
	}
	if r.URL.Path == "/api/v1/sync/since" {
		if r.URL.Query().Get("peer") != "node-0.mesh" {
			problem("peer %q", r.URL.Query().Get("peer"))
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, s.pages[r.URL.Query().Get("since")])
		return
	}
	var batch struct {
		Sender   string                `json:"sender_agent_id"`
		Memories []struct{ ID string } `json:"memories"`
		DryRun   *bool                 `json:"dry_run"`
	}
	if err := json.Unmarshal(body, &batch); err != nil || batch.DryRun == nil || *batch.DryRun || batch.Sender != "node-0.mesh" {
		problem("body %.200s", body)
	}
	if r.Header.Get("X-Peer-Id") != batch.Sender {
		problem("x-peer-id %q", r.Header.Get("X-Peer-Id"))
	}
	ids := []string{}
	for _, m := range batch.Memories {
		ids = append(ids, m.ID)
	}
	if got := r.Header.Get("Idempotency-Key"); len(ids) == 1 && got != ids[0] {
		problem("idempotency-key %q", got)
	}
	if s.answer != nil && s.answer(s.requests, w, ids) {
		return
	}
	s.taken = append(s.taken, ids...)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"ids": ids, "applied": len(ids)})
}

// newMemoryNode starts a node on the ai-memory wire, and a federation that has it for its only peer.
func newMemoryNode(t *testing.T) (*memoryNode, *sdktest.MeshNode) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2, Configure: func(i int, b *sdk.Builder) {
		if i == 0 {
			b.Peers[0].URL, b.Peers[0].Wire = "https://"+l.Addr().String(), signer.WireAIMemory
		}
	}})
	node := &memoryNode{key: func() ed25519.PublicKey { return mesh.Nodes[0].SigningKey }}
	pool := x509.NewCertPool()
	pool.AddCert(mesh.CA.Certificate)
	srv := &http.Server{Handler: node, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{*mesh.Nodes[1].Identity.TLS}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		_ = srv.Close()
		node.mu.Lock()
		defer node.mu.Unlock()
		if len(node.problems) > 0 {
			t.Errorf("the node found: %v", node.problems)
		}
	})
	return node, mesh.Nodes[0]
}

func memory(id string) sdk.Message {
	return sdk.Message{Operation: id, Body: []byte(`{"id":"` + id + `","title":"a memory"}`), ContentType: "application/json"}
}

func TestMemoryWirePushes(t *testing.T) {
	node, fed := newMemoryNode(t)
	result, err := push(t, fed, memory("m-1"))
	if err != nil {
		t.Fatal(err)
	}
	if result.Receipt != nil || !strings.Contains(result.Unproven, "node-1") || !result.Outcomes[1].Counted {
		t.Errorf("result %+v", result)
	}
	flush(t, fed)
	node.mu.Lock()
	defer node.mu.Unlock()
	if !slices.Equal(node.taken, []string{"m-1"}) {
		t.Errorf("took %v", node.taken)
	}
}

func TestMemoryWireTakesItsOperationFromTheMemory(t *testing.T) {
	_, fed := newMemoryNode(t)
	result, err := push(t, fed, sdk.Message{Body: memory("m-7").Body})
	if err != nil || result.Operation != "m-7" {
		t.Errorf("got %+v, %v", result, err)
	}
	for name, m := range map[string]sdk.Message{
		"no JSON":    {Operation: "m-1", Body: []byte("x")},
		"another id": {Operation: "m-1", Body: memory("m-2").Body},
		"no id":      {Body: []byte(`{"title":"x"}`)},
		"two ids":    {Operation: "m-1", Body: []byte(`{"id":"m-2","id":"m-1"}`)},
		"and an ID":  {Operation: "m-1", Body: []byte(`{"id":"m-2","ID":"m-1"}`)},
	} {
		if _, err := push(t, fed, m); !errors.Is(err, sdk.ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMemoryWireMisbehaves(t *testing.T) {
	always := func(status int, body string) func(int, http.ResponseWriter, []string) bool {
		return func(_ int, w http.ResponseWriter, _ []string) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		answer func(int, http.ResponseWriter, []string) bool
		kind   quorum.Kind
		reason quorum.Reason
	}{
		"200 with a foreign id": {always(200, `{"ids":["somebody-else"]}`), quorum.Drifted, quorum.Drift},
		"200 with garbage":      {always(200, `<html>ok</html>`), quorum.Unknown, quorum.RefusedBy},
		"200 with cut JSON":     {always(200, `{"ids":["m-`), quorum.Unknown, quorum.RefusedBy},
		"200 with nothing":      {always(200, ``), quorum.Unknown, quorum.RefusedBy},
		"200 with ids twice":    {always(200, `{"ids":[],"ids":["m-1"]}`), quorum.Unknown, quorum.RefusedBy},
		"200 with ids in caps":  {always(200, `{"skipped":1,"IDS":["m-1"]}`), quorum.Unknown, quorum.RefusedBy},
		"200 with a list":       {always(200, `[]`), quorum.Unknown, quorum.RefusedBy},
		"200 with an error":     {always(200, `{"error":"database is locked"}`), quorum.Unknown, quorum.RefusedBy},
		"200 of a dry run":      {always(200, `{"dry_run":true,"applied":1}`), quorum.Unknown, quorum.RefusedBy},
		"200, none applied":     {always(200, `{"applied":0,"noop":0}`), quorum.Refused, quorum.RefusedBy},
		"200 with bad counts":   {always(200, `{"applied":"1"}`), quorum.Unknown, quorum.RefusedBy},
		"204":                   {always(204, ``), quorum.Unknown, quorum.RefusedBy},
		"skipped":               {always(200, `{"ids":[],"skipped":1}`), quorum.Refused, quorum.RefusedBy},
		"skipped, no ids":       {always(200, `{"skipped":1}`), quorum.Refused, quorum.RefusedBy},
		"401":                   {always(401, `{"error":"x_memory_sig_bad_signature"}`), quorum.Refused, quorum.RefusedBy},
		"302 elsewhere":         {always(302, ``), quorum.Refused, quorum.RefusedBy},
	} {
		t.Run(name, func(t *testing.T) {
			node, fed := newMemoryNode(t)
			node.answer = c.answer
			_, err := push(t, fed, memory("m-1"))
			var not *quorum.NotMetError
			if !errors.As(err, &not) {
				t.Fatalf("got %v", err)
			}
			if not.Outcomes[1].Kind != c.kind || not.Reason != c.reason {
				t.Errorf("%v, %v, want %v, %v", not.Outcomes[1], not.Reason, c.kind, c.reason)
			}
			if depth := fed.Status().Peers[0].Outbox.Depth; depth != 1 {
				t.Errorf("the outbox holds %d messages", depth)
			}
		})
	}
}

func TestMemoryWire503OnceThen200(t *testing.T) {
	node, fed := newMemoryNode(t)
	node.answer = func(n int, w http.ResponseWriter, _ []string) bool {
		if n == 1 {
			w.WriteHeader(503)
		}
		return n == 1
	}
	result, err := push(t, fed, memory("m-1"))
	if err != nil {
		t.Fatal(err)
	}
	if result.Outcomes[1].Attempts != 2 {
		t.Errorf("%d attempts", result.Outcomes[1].Attempts)
	}
}

func TestMemoryWireAcksByStatusWhereNoIdsAreEchoed(t *testing.T) {
	node, fed := newMemoryNode(t)
	node.answer = func(_ int, w http.ResponseWriter, _ []string) bool {
		_, _ = io.WriteString(w, `{"status":"ok"}`)
		return true
	}
	if _, err := push(t, fed, memory("m-1")); err != nil {
		t.Error(err)
	}
}

func TestMemoryWirePushAllAndPull(t *testing.T) {
	node, fed := newMemoryNode(t)
	results, err := fed.PushAll(t.Context(), func(yield func(sdk.Message) bool) {
		for i := range 150 {
			if !yield(memory(fmt.Sprint("m-", i))) {
				return
			}
		}
	}, sdk.BulkOptions{})
	if err != nil || results[0].Applied != 150 || len(node.taken) != 150 {
		t.Errorf("%+v, %v, took %d", results, err, len(node.taken))
	}
	node.mu.Lock()
	if node.requests != 3 {
		t.Errorf("%d requests", node.requests)
	}
	node.pages = map[string]string{
		"":                          `{"memories":[{"id":"a","updated_at":"2026-01-01T00:00:00Z"},{"id":"b","created_at":"2026-01-02T00:00:00Z"}]}`,
		"2026-01-02T00:00:00Z":      `{"memories":[{"id":"c","updated_at":"2026-01-03T00:00:00+00:00"}]}`,
		"2026-01-03T00:00:00+00:00": `{"memories":[]}`,
	}
	node.mu.Unlock()
	var ids []string
	pulled, err := fed.Pull(t.Context(), sdk.PullOptions{}, func(_ context.Context, p sdk.Page) error {
		for _, m := range p.Messages {
			ids = append(ids, m.Operation)
		}
		return nil
	})
	if err != nil || !slices.Equal(ids, []string{"a", "b", "c"}) || pulled[0].Cursor != "2026-01-03T00:00:00+00:00" {
		t.Errorf("pulled %v, %+v, %v", ids, pulled, err)
	}
}

func TestMemoryWirePullRefusesPagesThatAreNone(t *testing.T) {
	node, fed := newMemoryNode(t)
	for name, page := range map[string]string{
		"nothing":          ``,
		"null":             `null`,
		"no memories":      `{}`,
		"an error":         `{"error":"database is locked"}`,
		"memories twice":   `{"memories":[{"id":"a"}],"memories":[]}`,
		"memories in caps": `{"MEMORIES":[{"id":"a"}]}`,
		"two ids":          `{"memories":[{"id":"a","id":"b"}]}`,
		"and an ID":        `{"memories":[{"id":"a","ID":"b"}]}`,
		"no id":            `{"memories":[{"title":"x"}]}`,
		"a null memory":    `{"memories":[null]}`,
	} {
		node.mu.Lock()
		node.pages = map[string]string{"": page}
		node.mu.Unlock()
		_, err := fed.Pull(t.Context(), sdk.PullOptions{}, func(_ context.Context, p sdk.Page) error {
			t.Errorf("%s: took %+v", name, p.Messages)
			return nil
		})
		if !errors.Is(err, sdk.ErrMaterial) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A memory that says it is of a far future hides none of those that follow.
func TestMemoryWirePullIsNotLedIntoTheFuture(t *testing.T) {
	node, fed := newMemoryNode(t)
	node.pages = map[string]string{
		"":                     `{"memories":[{"id":"a","updated_at":"2026-01-01T00:00:00Z"},{"id":"b","updated_at":"9999-01-01T00:00:00Z"}]}`,
		"2026-01-01T00:00:00Z": `{"memories":[{"id":"b","updated_at":"9999-01-01T00:00:00Z"}]}`,
	}
	var ids []string
	results, err := fed.Pull(t.Context(), sdk.PullOptions{}, func(_ context.Context, p sdk.Page) error {
		for _, m := range p.Messages {
			ids = append(ids, m.Operation)
		}
		return nil
	})
	if err != nil || results[0].Cursor != "2026-01-01T00:00:00Z" || !slices.Equal(ids, []string{"a", "b", "b"}) {
		t.Errorf("pulled %v, %+v, %v", ids, results, err)
	}
}

func TestMemoryWireBetweenTwoFederations(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2, Configure: func(_ int, b *sdk.Builder) { b.Peers[0].Wire = signer.WireAIMemory }})
	m := memory("m-1")
	for range 2 {
		if _, err := push(t, mesh.Nodes[0], m); err != nil {
			t.Fatal(err)
		}
	}
	// A memory may change under its id; that is another message on this wire.
	m.Body = []byte(`{"id":"m-1","title":"changed"}`)
	if _, err := push(t, mesh.Nodes[0], m); err != nil {
		t.Fatal(err)
	}
	if got := mesh.Nodes[1].Received(); len(got) != 2 || got[0].Peer.Name != "node-0" {
		t.Errorf("received %d messages", len(got))
	}
	mesh.Nodes[1].Refuse(sdk.Temporary("busy"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := mesh.Nodes[0].Push(ctx, memory("m-2")); err == nil {
		t.Error("a refused memory was acked")
	}
	mesh.Nodes[1].Refuse(nil)
	flush(t, mesh.Nodes[0])
}

func TestMemoryWireSenderIsNotCalledAsAnotherNode(t *testing.T) {
	for called, want := range map[string]signer.Tag{"node-2.mesh": sdk.TagSender, "node-1.mesh": sdk.TagSender, "an-agent": "", "node-0.mesh": ""} {
		t.Run(called, func(t *testing.T) {
			mesh := sdktest.Mesh(t, 3, sdktest.MeshOptions{Writes: 1, Configure: func(i int, b *sdk.Builder) {
				switch i {
				case 0:
					b.ID, b.Peers = called, b.Peers[:1]
					b.Peers[0].ID = "" // it may be what we call ourselves
					b.Peers[0].ServerName = "node-1.mesh"
					b.Peers[0].Wire = signer.WireAIMemory
				case 1:
					b.Peers[0].Wire = signer.WireAIMemory
				}
			}})
			body := []byte(`{"sender_agent_id":"` + mesh.Nodes[0].ID() + `","memories":[{"id":"m-1"}]}`)
			resp := postTo(t, mesh.Nodes[0], mesh.Nodes[1], "POST", "/api/v1/sync/push", "application/json", body)
			if got := signer.RefusalOf(resp); got != want || (want == "") != (resp.StatusCode == 200) {
				t.Errorf("status %d, tag %q, want %q", resp.StatusCode, got, want)
			}
			if got := mesh.Nodes[1].Received(); (len(got) == 0) != (want != "") {
				t.Errorf("received %d messages", len(got))
			}
			resp = postTo(t, mesh.Nodes[0], mesh.Nodes[1], "GET", "/api/v1/sync/since", "", nil)
			if got := signer.RefusalOf(resp); want != "" && got != want || want == "" && got != sdk.TagNoPull {
				t.Errorf("a pull: status %d, tag %q", resp.StatusCode, got)
			}
		})
	}
}
