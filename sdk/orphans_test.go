package sdk_test

import (
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestAnUnknownPeerInTheOutboxIsKeptAndReported(t *testing.T) {
	mesh := sdktest.Mesh(t, 3)
	from := mesh.Nodes[0]
	mesh.Nodes[2].Stop()
	if _, err := push(t, from, sdk.Message{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	all := from.Peers()
	if err := from.SetPeers(t.Context(), all[:1]); err != nil {
		t.Fatal(err)
	}
	status := from.Status()
	if len(status.Orphans) != 1 || status.Orphans["node-2.mesh"].Depth != 1 || len(status.Peers) != 1 {
		t.Errorf("orphans %+v", status.Orphans)
	}
	flush(t, from) // nobody waits for a peer that left
	mesh.Nodes[2].Start(t)
	if err := from.SetPeers(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	flush(t, from)
	if status := from.Status(); len(status.Orphans) != 0 || len(mesh.Nodes[2].Received()) != 1 {
		t.Errorf("orphans %+v, received %d", status.Orphans, len(mesh.Nodes[2].Received()))
	}
}

func TestOperatorsListRetryAndDropWhatIsSetAside(t *testing.T) {
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 1, Configure: func(_ int, b *sdk.Builder) { b.Push.QuarantineAfter = 1 }})
	from, to := mesh.Nodes[0], mesh.Nodes[1]
	to.Refuse(sdk.Permanent("closed"))
	for _, op := range []string{"op-1", "op-2"} {
		if _, err := push(t, from, sdk.Message{Operation: op, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, from) // what is set aside is not waited for
	held, err := from.Quarantined(t.Context(), "node-1", 0, 0)
	if err != nil || len(held) != 2 || held[0].Operation != "op-1" || held[0].Reason == "" {
		t.Fatalf("quarantine %+v, %v", held, err)
	}
	if n := from.Status().Peers[0].Outbox.Quarantined; n != 2 {
		t.Errorf("status says %d", n)
	}
	if err := from.DropQuarantined(t.Context(), "node-1", held[0].Seq); err != nil {
		t.Fatal(err)
	}
	to.Refuse(nil)
	if err := from.RetryQuarantined(t.Context(), "node-1.mesh", held[1].Seq); err != nil {
		t.Fatal(err)
	}
	flush(t, from)
	if got := to.Received(); len(got) != 1 || got[0].Operation != "op-2" {
		t.Errorf("received %+v", got)
	}
}
