package sdk_test

import (
	"net/http"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/signer"
)

func TestRotationsOnTheMemoryWireRefuseNothing(t *testing.T) {
	m := newMesh(t, 2, echo, func(_ *node, b *sdk.Builder) { b.Peers[0].Wire = signer.WireAIMemory })
	a, b := m.nodes[0], m.nodes[1]
	for i := range 4 { // more in a second are not asked for
		if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("after %d rotations: %v, refused as %q", i, err, signer.RefusalOf(resp))
		}
		key := newKey(t)
		a.key.set(func(s *source) { s.key = key })
		a.waitChange(t, sdk.RoleKey, uint64(i+2))
	}
}
