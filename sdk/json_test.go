package sdk_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

func TestErrorsAreTextInJSON(t *testing.T) {
	why := errors.New("the disk is full")
	for name, v := range map[string]any{
		"Status":         sdk.Status{OutboxErr: why},
		"MaterialStatus": sdk.Status{Identity: &sdk.MaterialStatus{Err: why}, Peers: []sdk.PeerStatus{{Name: "b"}}},
		"partial":        sdk.MaterialStatus{Partial: why},
		"Event":          sdk.Event{Kind: sdk.EventOutboxError, Err: why},
		"BulkResult":     sdk.BulkResult{Err: why},
		"BulkProgress":   sdk.BulkProgress{Outcomes: []sdk.BulkOutcome{{Err: why}}},
		"PullResult":     sdk.PullResult{Err: why},
		"Report":         sdk.Report{Problems: []sdk.Problem{{Field: "Outbox", Err: why}}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), why.Error()); n != 1 {
			t.Errorf("%s: %s holds the error %d times", name, b, n)
		}
	}
	b, err := json.Marshal(sdk.Status{ID: "a", Peers: []sdk.PeerStatus{{Name: "b", Wire: signer.WireAIMemory}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ID":"a"`, `"Name":"b"`, `"Wire":"ai-memory"`, `"OutboxErr":""`, `"State":""`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s lacks %s", b, want)
		}
	}
}

func TestWarmLearnsOfThePeers(t *testing.T) {
	mesh := sdktest.Mesh(t, 2)
	if err := mesh.Nodes[0].Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := mesh.Nodes[0].Status().Peers[0]; p.NotAfter.IsZero() || p.LastHeard.IsZero() {
		t.Errorf("after Warm the peer's certificate ends at %v and it was heard of at %v", p.NotAfter, p.LastHeard)
	}
}
