package interop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

func nodeName(i int) string { return fmt.Sprintf("node-%d.mesh", i) }

// mesh is n nodes and the peer in Python, each a peer of all others. W is all of them.
func mesh(t *testing.T, n int, memory bool) (*sdktest.MeshNetwork, *process) {
	t.Helper()
	python := findPython(t)
	var p *process
	m := sdktest.Mesh(t, n, sdktest.MeshOptions{
		Writes:  n + 1,
		Prepare: func(m *sdktest.MeshNetwork) { p = start(t, python, m, memory) },
		Inbound: func(int) sdk.Inbound { return newStore().inbound() },
		Configure: func(_ int, b *sdk.Builder) {
			peer := p.peer()
			if memory {
				peer.Wire = signer.WireAIMemory
			}
			b.Peers = append(b.Peers, peer)
			b.Quorum.AckTimeout = 20 * time.Second // a busy machine is not what is tested
		},
	})
	return m, p
}

type pairs [][2]string

// push has the peer push to node 0 and returns the states it was answered. It has verified the acks.
func (p *process) push(t *testing.T, messages pairs) []int {
	t.Helper()
	var answer struct{ States []int }
	p.ask(t, map[string]any{"do": "push", "peer": nodeName(0), "messages": messages}, &answer)
	return answer.States
}

func push(t *testing.T, n *sdktest.MeshNode, op, body string) (*quorum.Result, error) {
	t.Helper()
	return n.Push(t.Context(), sdk.Message{Operation: op, Body: []byte(body), ContentType: "text/plain"})
}

func TestAPeerInPythonIsPushedToAndItsAcksCount(t *testing.T) {
	m, p := mesh(t, 2, false)
	result, err := push(t, m.Nodes[0], "op-1", "hello")
	if err != nil {
		t.Fatal(err)
	}
	if result.Acked != 3 || result.Receipt == nil {
		t.Fatalf("got %+v, want three acks and a receipt", result)
	}
	// Again, and many that share requests and one signature for their acks.
	if _, err := push(t, m.Nodes[0], "op-1", "hello"); err != nil {
		t.Error("repeated:", err)
	}
	bulk := func(yield func(sdk.Message) bool) {
		for i := range 100 {
			if !yield(sdk.Message{Operation: "bulk-" + strconv.Itoa(i), Body: []byte("x")}) {
				return
			}
		}
	}
	sent, err := m.Nodes[1].PushAll(t.Context(), bulk, sdk.BulkOptions{Peers: []string{"python"}})
	if err != nil || sent[0].Applied != 100 {
		t.Errorf("in bulk: %+v, %v", sent, err)
	}
	var got struct{ Messages pairs }
	p.ask(t, map[string]string{"do": "received"}, &got)
	if len(got.Messages) != 101 || got.Messages[0] != [2]string{"op-1", "hello"} || got.Messages[100] != [2]string{"bulk-99", "x"} {
		t.Errorf("it has %d messages: %.200v", len(got.Messages), got.Messages)
	}
	// The third party has the receipt and the keys, in Python.
	stored, err := result.Receipt.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]byte{pythonName: p.signing}
	for i, n := range m.Nodes {
		keys[nodeName(i)] = n.SigningKey
	}
	var receipt struct {
		Op, Digest, Sender string
		Nodes              []string
	}
	p.ask(t, map[string]any{"do": "receipt", "receipt": stored, "keys": keys, "writes": 3}, &receipt)
	sum := sha256.Sum256([]byte("hello"))
	if receipt.Op != "op-1" || receipt.Digest != hex.EncodeToString(sum[:]) || receipt.Sender != nodeName(0) ||
		!slices.Equal(receipt.Nodes, []string{nodeName(0), nodeName(1), pythonName}) {
		t.Errorf("the receipt reads %+v", receipt)
	}
}

func TestALieOfThePeerInPythonCountsForNothing(t *testing.T) {
	m, p := mesh(t, 1, false)
	for how, want := range map[string]quorum.Kind{
		"digest": quorum.Drifted, "op": quorum.Drifted, "sender": quorum.Drifted, "recipient": quorum.Drifted,
		"key": quorum.Unknown, "proof": quorum.Unknown, "signature": quorum.Unknown, "twice": quorum.Unknown,
	} {
		p.ask(t, map[string]string{"do": "lie", "how": how}, nil)
		_, err := push(t, m.Nodes[0], "op-"+how, "x")
		var not *quorum.NotMetError
		if !errors.As(err, &not) || not.Outcomes[1].Kind != want || not.Outcomes[1].Counted {
			t.Errorf("%s: %v, want %v", how, err, want)
		}
	}
	p.ask(t, map[string]string{"do": "lie", "how": ""}, nil)
	// The truth may be that it knows the id with another body.
	if _, err := push(t, m.Nodes[0], "known", "x"); err != nil {
		t.Error(err)
	}
	var not *quorum.NotMetError
	if _, err := push(t, m.Nodes[0], "known", "another"); !errors.As(err, &not) || not.Outcomes[1].Kind != quorum.Refused {
		t.Errorf("another body: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Nodes[0].Flush(ctx); err != nil {
		t.Error("it does not lie any more:", err)
	}
}

func TestAPeerInPythonPushesAndGetsAcksThatItVerifies(t *testing.T) {
	_, p := mesh(t, 1, false)
	if got := p.push(t, pairs{{"one", "1"}}); !slices.Equal(got, []int{1}) {
		t.Errorf("states %v", got)
	}
	batch := pairs{{"one", "1"}, {"two", "2"}, {"later", "x"}, {"never", "x"}, {"one", "another"}, {"three", "3"}}
	if got, want := p.push(t, batch), []int{1, 1, 2, 3, 4, 1}; !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
	// What it pushed is there to be pulled, by itself too.
	var got struct{ Messages pairs }
	p.ask(t, map[string]string{"do": "pull", "peer": nodeName(0)}, &got)
	if want := (pairs{{"one", "1"}, {"two", "2"}, {"three", "3"}}); !reflect.DeepEqual(got.Messages, want) {
		t.Errorf("it pulled %v, want %v", got.Messages, want)
	}
	for how, want := range map[string]signer.Tag{
		"":          "",
		"body":      signer.TagDigest,
		"digest":    signer.TagSignature,
		"replay":    signer.TagReplayed,
		"operation": signer.TagSignature,
		"recipient": signer.TagRecipient,
		"encoding":  signer.TagEncoding,
		"space":     signer.TagSignatureMalformed,
		"nothing":   signer.TagSignatureMissing,
	} {
		var refused struct{ Tag signer.Tag }
		p.ask(t, map[string]any{"do": "spoil", "peer": nodeName(0), "how": how, "messages": pairs{{"spoilt-" + how, "x"}}}, &refused)
		if refused.Tag != want {
			t.Errorf("%q was refused with %q, want %q", how, refused.Tag, want)
		}
	}
}

func TestAPeerInPythonIsPulledFrom(t *testing.T) {
	m, _ := mesh(t, 1, false)
	var want []string
	for i := range 5 {
		op := "op-" + strconv.Itoa(i)
		want = append(want, op)
		if _, err := push(t, m.Nodes[0], op, "x"); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	result, err := m.Nodes[0].Pull(t.Context(), sdk.PullOptions{}, func(_ context.Context, page sdk.Page) error {
		for _, message := range page.Messages {
			got = append(got, message.Operation)
		}
		return nil
	})
	if err != nil || !slices.Equal(got, want) || result[0].Pages != 3 || result[0].Cursor != "5" {
		t.Errorf("pulled %v, %+v, %v", got, result, err)
	}
}

func TestTheAIMemoryWireWithAPeerInPython(t *testing.T) {
	m, p := mesh(t, 1, true)
	memory := func(id, at string) string { return fmt.Sprintf(`{"id":%q,"updated_at":%q}`, id, at) }
	for i, id := range []string{"m-1", "m-2"} {
		result, err := push(t, m.Nodes[0], id, memory(id, fmt.Sprintf("2026-01-0%dT00:00:00Z", i+1)))
		if err != nil || result.Acked != 2 || result.Receipt != nil {
			t.Fatalf("got %+v, %v", result, err)
		}
	}
	var ids []string
	_, err := m.Nodes[0].Pull(t.Context(), sdk.PullOptions{}, func(_ context.Context, page sdk.Page) error {
		for _, message := range page.Messages {
			ids = append(ids, message.Operation)
		}
		return nil
	})
	if err != nil || !slices.Equal(ids, []string{"m-1", "m-2"}) {
		t.Errorf("pulled %v, %v", ids, err)
	}

	var pushed struct {
		IDs     []string
		Applied int
	}
	p.ask(t, map[string]any{"do": "remember", "peer": nodeName(0), "messages": pairs{
		{"m-3", memory("m-3", "2026-01-03T00:00:00Z")}, {"m-4", memory("m-4", "2026-01-04T00:00:00Z")},
	}}, &pushed)
	if !slices.Equal(pushed.IDs, []string{"m-3", "m-4"}) || pushed.Applied != 2 {
		t.Errorf("answered %+v", pushed)
	}
	var pulled struct {
		Memories []struct{ ID json.RawMessage }
	}
	p.ask(t, map[string]string{"do": "recall", "peer": nodeName(0)}, &pulled)
	if len(pulled.Memories) != 2 || string(pulled.Memories[1].ID) != `"m-4"` {
		t.Errorf("it pulled %s", pulled.Memories)
	}
}
