package sdk_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func push(t *testing.T, n *sdktest.MeshNode, m sdk.Message) (*quorum.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return n.Push(ctx, m)
}

func flush(t *testing.T, n *sdktest.MeshNode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestPushMeetsItsQuorumWithAReceiptThatVerifies(t *testing.T) {
	mesh := sdktest.Mesh(t, 3, sdktest.MeshOptions{Writes: 3})
	m := sdk.Message{Operation: "order-17", Body: []byte("ten bolts"), ContentType: "text/plain"}
	result, err := push(t, mesh.Nodes[0], m)
	if err != nil {
		t.Fatal(err)
	}
	if result.Acked != 3 || result.W != 3 || result.N != 3 || result.Operation != m.Operation {
		t.Errorf("result %+v", result)
	}
	for _, o := range result.Outcomes {
		if o.Kind != quorum.Acked || !o.Counted || !o.Recorded || o.Err != nil {
			t.Errorf("outcome %+v", o)
		}
	}
	if result.Receipt == nil {
		t.Fatalf("no receipt: %s", result.Unproven)
	}
	stored, err := result.Receipt.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := quorum.ParseReceipt(stored)
	if err != nil {
		t.Fatal(err)
	}
	keys := quorum.Keys{Of: map[string][]ed25519.PublicKey{}, Writes: 3}
	for i, n := range mesh.Nodes {
		keys.Of[n.ID()] = []ed25519.PublicKey{mesh.Nodes[i].SigningKey}
	}
	if err := quorum.Verify(receipt, keys); err != nil {
		t.Error(err)
	}
	for i, n := range mesh.Nodes[1:] {
		got := n.Received()
		if len(got) != 1 || string(got[0].Body) != "ten bolts" || got[0].ContentType != "text/plain" || got[0].Peer.Name != "node-0" {
			t.Errorf("node %d received %+v", i+1, got)
		}
	}
	flush(t, mesh.Nodes[0])
}

func TestPushWithAPeerDownMeetsMajorityAndDrainsWhenItReturns(t *testing.T) {
	mesh := sdktest.Mesh(t, 3)
	mesh.Nodes[2].Stop()
	for i := range 5 {
		result, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte{byte(i), 1}})
		if err != nil {
			t.Fatal(err)
		}
		if result.Acked < 2 {
			t.Errorf("acked %d", result.Acked)
		}
	}
	for mesh.Nodes[0].Status().Peers[1].Outbox.Sending > 0 { // the last attempts of the pushes themselves
		time.Sleep(time.Millisecond)
	}
	mesh.Nodes[2].Start(t)
	flush(t, mesh.Nodes[0])
	got := mesh.Nodes[2].Received()
	if len(got) != 5 {
		t.Fatalf("node 2 received %d messages", len(got))
	}
	for i, d := range got {
		if d.Body[0] != byte(i) {
			t.Errorf("message %d is number %d: order is lost", i, d.Body[0])
		}
	}
	if s := mesh.Nodes[0].Status().Peers[1].Outbox; s.Depth != 0 || s.Failures != 0 {
		t.Errorf("outbox %+v", s)
	}
}

func TestPushOutOfReachFailsEarlyAndSaysWhy(t *testing.T) {
	mesh := sdktest.Mesh(t, 3, sdktest.MeshOptions{Writes: 3, Configure: func(_ int, b *sdk.Builder) {
		b.Quorum.AckTimeout = time.Minute
	}})
	mesh.Nodes[2].Stop()
	start := time.Now()
	_, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
	var not *quorum.NotMetError
	if !errors.As(err, &not) {
		t.Fatalf("got %v", err)
	}
	if not.Reason != quorum.Unreachable || not.Need != 3 || not.Got > 2 {
		t.Errorf("got %+v", not)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	if !strings.Contains(err.Error(), "node-2") {
		t.Errorf("%q does not name the peer", err)
	}
}

func TestPushRefusedSaysSo(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2})
	mesh.Nodes[1].Refuse(sdk.Permanent("closed on Sundays"))
	_, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
	var not *quorum.NotMetError
	if !errors.As(err, &not) || not.Reason != quorum.RefusedBy || not.Outcomes[1].Kind != quorum.Refused {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "closed on Sundays") {
		t.Errorf("%q does not say why", err)
	}
}

func TestUnsignedFederationPushesWithoutAReceipt(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2, Unsigned: true})
	result, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if result.Receipt != nil || result.Unproven == "" || result.Acked != 2 {
		t.Errorf("result %+v", result)
	}
}

func TestBadMessagesAreRefusedBeforeAnythingHappens(t *testing.T) {
	mesh := sdktest.Mesh(t, 2)
	for name, m := range map[string]sdk.Message{
		"empty body":            {},
		"oversized body":        {Body: make([]byte, sdk.MaxMessage+1)},
		"operation with spaces": {Body: []byte("x"), Operation: "a b"},
		"operation too long":    {Body: []byte("x"), Operation: strings.Repeat("a", 129)},
		"no content type":       {Body: []byte("x"), ContentType: "text"},
		"header injection":      {Body: []byte("x"), ContentType: "text/plain\r\nX-Evil: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := push(t, mesh.Nodes[0], m); !errors.Is(err, sdk.ErrMessage) {
				t.Errorf("got %v, want ErrMessage", err)
			}
		})
	}
	if got := mesh.Nodes[1].Received(); len(got) != 0 {
		t.Errorf("received %+v", got)
	}
}

func TestARepeatedPushIsAppliedOnceAndAnotherBodyRefused(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2})
	m := sdk.Message{Operation: "op-1", Body: []byte("first")}
	first, err := push(t, mesh.Nodes[0], m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := push(t, mesh.Nodes[0], m)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := first.Outcomes[1].Ack, again.Outcomes[1].Ack; !a.Time.Equal(b.Time) || string(a.Proof.Signature) != string(b.Proof.Signature) {
		t.Error("the second push did not get the stored ack")
	}
	m.Body = []byte("second")
	_, err = push(t, mesh.Nodes[0], m)
	var not *quorum.NotMetError
	if !errors.As(err, &not) || not.Reason != quorum.RefusedBy {
		t.Fatalf("another body: %v", err)
	}
	if got := mesh.Nodes[1].Received(); len(got) != 1 || string(got[0].Body) != "first" {
		t.Errorf("received %+v", got)
	}
	var held []outbox.Entry
	for end := time.Now().Add(20 * time.Second); len(held) == 0; time.Sleep(time.Millisecond) { // it is set aside after Push has returned
		if held, err = mesh.Nodes[0].Quarantined(t.Context(), "node-1", 0, 0); err != nil || time.Now().After(end) {
			t.Fatalf("quarantine: %+v, %v", held, err)
		}
	}
	if len(held) != 1 || !held[0].Quarantined {
		t.Errorf("quarantine: %+v", held)
	}
	if err := mesh.Nodes[0].DropQuarantined(t.Context(), "node-1", held[0].Seq); err != nil {
		t.Error(err)
	}
}

func TestACrowdAtTheStartIsNoCrowdOfHandshakes(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2, Configure: func(_ int, b *sdk.Builder) {
		b.Quorum.AckTimeout = 20 * time.Second
	}})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := mesh.Nodes[0].Status().Peers[0].Transport.Requests; n > 40 {
		t.Errorf("%d requests for 64 messages", n)
	}
}

func TestShutdownBeginsNothingNewAndFinishesWhatIsUnderWay(t *testing.T) {
	entered, release := make(chan struct{}, 100), make(chan struct{})
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 1, Inbound: func(int) sdk.Inbound {
		return sdk.Inbound{Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) {
			entered <- struct{}{}
			<-release
			return sdk.Applied, nil
		}}
	}})
	node := mesh.Nodes[0]
	if _, err := push(t, node, sdk.Message{Operation: "first", Body: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- node.Shutdown(ctx) }()

	var err error
	for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, err = push(t, node, sdk.Message{Body: []byte("another")})
	}
	if !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("push during a shutdown: %v, want ErrClosed", err)
	}
	if _, err := node.Client().Get(mesh.Nodes[1].URL); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("request during a shutdown: %v, want ErrClosed", err)
	}
	if _, err := node.Pull(ctx, sdk.PullOptions{}, func(context.Context, sdk.Page) error { return nil }); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("pull during a shutdown: %v, want ErrClosed", err)
	}
	select {
	case err := <-done:
		t.Errorf("the shutdown ended with a delivery under way: %v", err)
	default:
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if waiting := node.Status().Peers[0].Outbox.Depth; waiting != 0 {
		t.Errorf("%d messages wait after the shutdown", waiting)
	}
}

// A node that serves nothing is no node: its peers cannot have its keys. Whoever sees the failure learns why.
func TestANodeThatServesNoKeysIsToldWhatToDo(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2})
	mesh.Nodes[0].Stop()
	_, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
	if err == nil || !strings.Contains(err.Error(), "key_unavailable") || !strings.Contains(err.Error(), "serve Handler") {
		t.Errorf("got %v, want the tag and the cure", err)
	}
}
