package sdk_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// postTo sends a signed request by hand.
func postTo(t *testing.T, from, to *sdktest.MeshNode, method, path, media string, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	resp, err := from.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestHandlerRefuses(t *testing.T) {
	mesh := sdktest.Mesh(t, 3, sdktest.MeshOptions{Inbound: func(i int) sdk.Inbound {
		if i == 2 {
			return sdk.Inbound{}
		}
		return sdk.Inbound{
			Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) { return sdk.Applied, nil },
			Pull:  func(context.Context, sdk.PullQuery) (sdk.Page, error) { return sdk.Page{}, sdk.ErrCursor },
		}
	}})
	const push, pull = "/api/v1/sync/push", "/api/v1/sync/since"
	message := sdk.Message{Operation: "op", Body: []byte("x"), ContentType: "text/plain"}
	good := sdk.BatchFrom("node-0.mesh", message)
	for name, c := range map[string]struct {
		to                  int
		method, path, media string
		body                []byte
		status              int
		tag                 signer.Tag
	}{
		"another method":             {1, "PUT", push, sdk.MediaBatch, good, 405, sdk.TagMethod},
		"a pull that posts":          {1, "POST", pull, sdk.MediaBatch, good, 405, sdk.TagMethod},
		"another path":               {1, "GET", "/other", "", nil, 404, sdk.TagPath},
		"another content type":       {1, "POST", push, "application/json", good, 415, sdk.TagMedia},
		"garbage":                    {1, "POST", push, sdk.MediaBatch, []byte("garbage"), 400, sdk.TagMessage},
		"an empty body":              {1, "POST", push, sdk.MediaBatch, nil, 400, sdk.TagMessage},
		"a cut batch":                {1, "POST", push, sdk.MediaBatch, good[:len(good)-1], 400, sdk.TagMessage},
		"a sender called as a peer":  {1, "POST", push, sdk.MediaBatch, sdk.BatchFrom("node-2.mesh", message), 403, sdk.TagSender},
		"a sender called as we are":  {1, "POST", push, sdk.MediaBatch, sdk.BatchFrom("node-1.mesh", message), 403, sdk.TagSender},
		"no application for pushes":  {2, "POST", push, sdk.MediaBatch, good, 404, sdk.TagNoPush},
		"no application for pulls":   {2, "GET", pull, "", nil, 404, sdk.TagNoPull},
		"an unknown cursor":          {1, "GET", pull + "?cursor=x", "", nil, 400, sdk.TagCursor},
		"a cursor that is too large": {1, "GET", pull + "?cursor=" + strings.Repeat("x", 2000), "", nil, 400, sdk.TagCursor},
	} {
		t.Run(name, func(t *testing.T) {
			resp := postTo(t, mesh.Nodes[0], mesh.Nodes[c.to], c.method, c.path, c.media, c.body)
			if resp.StatusCode != c.status || signer.RefusalOf(resp) != c.tag {
				t.Errorf("status %d, tag %q, want %d and %q", resp.StatusCode, signer.RefusalOf(resp), c.status, c.tag)
			}
		})
	}
}

func TestHandlerServesTheKeyDirectoryUnderAnyPrefix(t *testing.T) {
	mesh := sdktest.Mesh(t, 2)
	for _, path := range []string{signer.DirectoryPath, "/some/prefix" + signer.DirectoryPath} {
		resp := postTo(t, mesh.Nodes[0], mesh.Nodes[1], "GET", path, "", nil)
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), signer.Thumbprint(mesh.Nodes[1].SigningKey)) {
			t.Errorf("%s: status %d, %v: %s", path, resp.StatusCode, err, body)
		}
	}
}

func TestAPanicOfTheApplicationIsARefusal(t *testing.T) {
	var calls atomic.Int64
	events := make(chan sdk.Event, 100)
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{
		Writes: 2,
		Inbound: func(int) sdk.Inbound {
			return sdk.Inbound{Apply: func(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
				switch calls.Add(1) {
				case 1:
					panic("application's secret")
				case 2:
					return 77, nil
				default:
					return sdk.Noop, nil
				}
			}}
		},
		Configure: func(i int, b *sdk.Builder) {
			if i == 1 {
				b.OnEvent = func(e sdk.Event) {
					if e.Kind == sdk.EventReceived {
						events <- e
					}
				}
			}
		},
	})
	_, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
	var not *quorum.NotMetError
	if !errors.As(err, &not) || not.Outcomes[1].Kind != quorum.Refused {
		t.Fatalf("got %v, want a refusal", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the peer was told %q", err)
	}
	flush(t, mesh.Nodes[0])
	if calls.Load() != 3 {
		t.Errorf("%d calls", calls.Load())
	}
	for _, want := range []string{"panicked", "neither Applied nor Noop"} {
		if e := <-events; !strings.Contains(e.Detail, want) || e.Peer != "node-0" {
			t.Errorf("event %+v, want %q", e, want)
		}
	}
}

func TestAPeerThatSendsAllBeforeItReadsFindsTheRefusal(t *testing.T) {
	mesh := sdktest.Mesh(t, 2)
	config := mesh.Nodes[0].ClientTLS("node-1")
	conn, err := tls.Dial("tcp", strings.TrimPrefix(mesh.Nodes[1].URL, "https://"), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for range 2 { // the connection serves on
		if _, err := fmt.Fprintf(conn, "POST /api/v1/sync/push HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n", 15<<20); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(make([]byte, 15<<20)); err != nil {
			t.Fatalf("hung up on, and not told why: %v", err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := signer.RefusalOf(resp); got != signer.TagSignatureMissing || resp.Close {
			t.Errorf("status %d, tag %q, close %v", resp.StatusCode, got, resp.Close)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	// One that asks first is not waited for.
	if _, err := io.WriteString(conn, "POST /api/v1/sync/push HTTP/1.1\r\nHost: b\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := signer.RefusalOf(resp); got != signer.TagSignatureMissing || !resp.Close {
		t.Errorf("status %d, tag %q, close %v", resp.StatusCode, got, resp.Close)
	}
}

func TestAPeerThatHangsUpIsNoFaultOfOurs(t *testing.T) {
	applying, events := make(chan struct{}), make(chan sdk.Event, 100)
	var calls atomic.Int64
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{
		Inbound: func(int) sdk.Inbound {
			return sdk.Inbound{Apply: func(ctx context.Context, _ sdk.Delivery) (quorum.Verdict, error) {
				if calls.Add(1) == 1 {
					close(applying)
					<-ctx.Done() // the application takes the message all the same
				}
				return sdk.Applied, nil
			}}
		},
		Configure: func(i int, b *sdk.Builder) {
			if i == 1 {
				b.OnEvent = func(e sdk.Event) {
					if e.Kind == sdk.EventReceived {
						events <- e
					}
				}
			}
		},
	})
	message := sdk.Message{Operation: "op", Body: []byte("x"), ContentType: "text/plain"}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", mesh.Nodes[1].URL+"/api/v1/sync/push", bytes.NewReader(sdk.BatchFrom("node-0.mesh", message)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", sdk.MediaBatch)
	go func() {
		<-applying
		cancel()
	}()
	if resp, err := mesh.Nodes[0].Client().Do(req); err == nil {
		resp.Body.Close() // the answer and the end of the connection crossed
	}
	// It was taken, and asked again, its ack is there.
	result, err := push(t, mesh.Nodes[0], message)
	if err != nil || result.Receipt == nil || calls.Load() != 1 {
		t.Errorf("got %+v, %v, after %d calls", result, err, calls.Load())
	}
	if len(events) > 0 {
		t.Errorf("event %+v", <-events)
	}
}

func TestRepetitionsAtOnceReachTheApplicationOnce(t *testing.T) {
	var calls atomic.Int64
	release := make(chan struct{})
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2, Inbound: func(int) sdk.Inbound {
		return sdk.Inbound{Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) {
			calls.Add(1)
			<-release
			return sdk.Applied, nil
		}}
	}})
	var wg sync.WaitGroup
	signatures := make([]string, 10)
	for i := range signatures {
		wg.Go(func() {
			result, err := push(t, mesh.Nodes[0], sdk.Message{Operation: "op", Body: []byte("x")})
			if err != nil {
				t.Error(err)
				return
			}
			signatures[i] = string(result.Outcomes[1].Ack.Proof.Signature)
		})
	}
	for calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	if calls.Load() != 1 {
		t.Errorf("%d calls", calls.Load())
	}
	for _, s := range signatures {
		if s != signatures[0] {
			t.Error("two acks of one message differ")
		}
	}
}

func TestMessagesOfABatchAreAppliedInOrder(t *testing.T) {
	mesh := sdktest.Mesh(t, 2)
	var messages []sdk.Message
	for i := range 20 {
		messages = append(messages, sdk.Message{Operation: string(rune('a' + i)), Body: []byte{1}, ContentType: "text/plain"})
	}
	resp := postTo(t, mesh.Nodes[0], mesh.Nodes[1], "POST", "/api/v1/sync/push", sdk.MediaBatch, sdk.BatchFrom("node-0.mesh", messages...))
	if resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	for i, d := range mesh.Nodes[1].Received() {
		if d.Operation != messages[i].Operation {
			t.Errorf("message %d is %s", i, d.Operation)
		}
	}
}

func TestAStoredAckIsSignedAgainWithTheNewKey(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2})
	m := sdk.Message{Operation: "op", Body: []byte("x")}
	first, err := push(t, mesh.Nodes[0], m)
	if err != nil {
		t.Fatal(err)
	}
	mesh.Nodes[1].RotateSigningKey(t)
	again, err := push(t, mesh.Nodes[0], m)
	if err != nil {
		t.Fatal(err)
	}
	a, b := first.Outcomes[1].Ack, again.Outcomes[1].Ack
	if a.Proof.KeyID == b.Proof.KeyID || b.Proof.KeyID != signer.Thumbprint(mesh.Nodes[1].SigningKey) || !a.Time.Equal(b.Time) {
		t.Errorf("first %+v, again %+v", a, b)
	}
	if n := len(mesh.Nodes[1].Received()); n != 1 {
		t.Errorf("applied %d times", n)
	}
}
