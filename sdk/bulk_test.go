package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func many(n int) func(yield func(sdk.Message) bool) {
	return func(yield func(sdk.Message) bool) {
		for i := range n {
			if !yield(sdk.Message{Operation: fmt.Sprintf("op-%05d", i), Body: []byte("x")}) {
				return
			}
		}
	}
}

func TestPushAllReachesEveryPeerInOrder(t *testing.T) {
	mesh := sdktest.Mesh(t, 3)
	var mu sync.Mutex
	progress := map[string]int{}
	results, err := mesh.Nodes[0].PushAll(t.Context(), many(200), sdk.BulkOptions{Progress: func(p sdk.BulkProgress) {
		mu.Lock()
		defer mu.Unlock()
		progress[p.Peer] += len(p.Outcomes)
		if p.Done != progress[p.Peer] || p.Acked != p.Done {
			t.Errorf("progress %d of %d acked, %d told", p.Acked, p.Done, progress[p.Peer])
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Applied != 200 || r.Done != 200 || len(r.Failed) != 0 || progress[r.Peer] != 200 {
			t.Errorf("%+v, told %d", r, progress[r.Peer])
		}
		for j, d := range mesh.Nodes[i+1].Received() {
			if d.Operation != fmt.Sprintf("op-%05d", j) {
				t.Fatalf("node %d: message %d is %s", i+1, j, d.Operation)
			}
		}
	}
	again, err := mesh.Nodes[0].PushAll(t.Context(), many(200), sdk.BulkOptions{Peers: []string{"node-2", mesh.Nodes[0].Status().Peers[1].ID, "node-2"}})
	if err != nil || len(again) != 1 || again[0].Done != 200 || len(mesh.Nodes[2].Received()) != 200 {
		t.Errorf("again: %+v, %v, received %d", again, err, len(mesh.Nodes[2].Received()))
	}
	if _, err := mesh.Nodes[0].PushAll(t.Context(), many(1), sdk.BulkOptions{Peers: []string{"nobody"}}); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("an unknown peer: %v", err)
	}
}

func TestPushAllSaysWhichMessagesFailed(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Inbound: func(int) sdk.Inbound {
		return sdk.Inbound{Apply: func(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
			if strings.HasSuffix(d.Operation, "3") {
				return 0, sdk.Permanent("no threes")
			}
			return sdk.Noop, nil
		}}
	}})
	results, err := mesh.Nodes[0].PushAll(t.Context(), many(20), sdk.BulkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := results[0]
	if r.Noops != 18 || len(r.Failed) != 2 || r.Failed[0].Operation != "op-00003" || r.Failed[1].Kind != quorum.Refused {
		t.Errorf("%+v", r)
	}
}

// pager hands out n messages in pages of size.
func pager(n, size int, delay time.Duration) func(context.Context, sdk.PullQuery) (sdk.Page, error) {
	return func(_ context.Context, q sdk.PullQuery) (p sdk.Page, err error) {
		time.Sleep(delay)
		at := 0
		if q.Cursor != "" {
			if at, err = strconv.Atoi(q.Cursor); err != nil {
				return p, sdk.ErrCursor
			}
		}
		for i := at; i < min(at+size, n); i++ {
			p.Messages = append(p.Messages, sdk.PageMessage{Message: sdk.Message{Operation: fmt.Sprint("op-", i), Body: []byte{1}}})
		}
		next := min(at+size, n)
		p.Next, p.More = strconv.Itoa(next), next < n
		return p, nil
	}
}

func TestPullResumesAndASlowPeerDelaysNoOther(t *testing.T) {
	release := make(chan struct{})
	mesh := sdktest.Mesh(t, 3, sdktest.MeshOptions{Inbound: func(i int) sdk.Inbound {
		pages := pager(100, 30, 0)
		if i == 2 {
			slow := pages
			pages = func(ctx context.Context, q sdk.PullQuery) (sdk.Page, error) {
				select {
				case <-release:
				case <-ctx.Done():
				}
				return slow(ctx, q)
			}
		}
		return sdk.Inbound{Pull: pages}
	}})
	var mu sync.Mutex
	pulled := map[string]int{}
	var once sync.Once
	results, err := mesh.Nodes[0].Pull(t.Context(), sdk.PullOptions{}, func(_ context.Context, p sdk.Page) error {
		mu.Lock()
		defer mu.Unlock()
		pulled[p.Peer.Name] += len(p.Messages)
		if pulled["node-1"] == 100 { // only then does the slow peer answer at all
			once.Do(func() { close(release) })
		}
		return nil
	})
	if err != nil || pulled["node-1"] != 100 || pulled["node-2"] != 100 {
		t.Fatalf("pulled %v, %v", pulled, err)
	}
	stop := errors.New("enough")
	cursors := map[string]string{results[0].ID: "", results[1].ID: ""}
	first, err := mesh.Nodes[0].Pull(t.Context(), sdk.PullOptions{Peers: []string{"node-1"}, Cursors: cursors}, func(_ context.Context, p sdk.Page) error {
		if p.Next == "60" {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || first[0].Cursor != "30" || first[0].Pulled != 30 {
		t.Fatalf("%+v, %v", first, err)
	}
	cursors[first[0].ID] = first[0].Cursor
	rest, err := mesh.Nodes[0].Pull(t.Context(), sdk.PullOptions{Peers: []string{"node-1"}, Cursors: cursors}, func(context.Context, sdk.Page) error { return nil })
	if err != nil || rest[0].Pulled != 70 || rest[0].Cursor != "100" {
		t.Errorf("%+v, %v", rest, err)
	}
	twice := sdk.PullOptions{Peers: []string{"node-2", results[1].ID}}
	if got, err := mesh.Nodes[0].Pull(t.Context(), twice, func(context.Context, sdk.Page) error { return nil }); err != nil || len(got) != 1 || got[0].Pulled != 100 {
		t.Errorf("a peer that is named twice: %+v, %v", got, err)
	}
	cursors[first[0].ID] = "what?"
	if _, err := mesh.Nodes[0].Pull(t.Context(), sdk.PullOptions{Peers: []string{"node-1"}, Cursors: cursors}, func(context.Context, sdk.Page) error { return nil }); !errors.Is(err, sdk.ErrCursor) {
		t.Errorf("an unknown cursor: %v", err)
	}
}
