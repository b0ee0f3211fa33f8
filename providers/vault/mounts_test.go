package vault_test

import (
	"fmt"
	"testing"
	"time"
)

// Messages wait for a mount as they do for Vault.
func TestFederationSurvivesATransitMountThatIsGoneForAMoment(t *testing.T) {
	f := newFleet(t, fleetOptions{patience: 20 * time.Second})
	for _, test := range []struct {
		what       string
		begin, end func()
	}{
		{"moved, and back", func() { f.remount(t, "transit", "elsewhere") }, func() { f.remount(t, "elsewhere", "transit") }},
		{"disabled, and made anew", func() { f.unmount(t, "transit") }, func() {
			f.Mount(t, "transit", "transit")
			for i := range f.mesh.Nodes {
				f.TransitKey(t, "transit", fmt.Sprintf("mesh-%d", i), nil)
			}
		}},
	} {
		test.begin()
		f.proxy.Reset()
		within(t, "signatures that are refused, "+test.what, func() bool { return f.proxy.Count("transit/sign/") > 5 })
		test.end()
		f.moves(t)
	}
	f.nothingFailed(t)
}

func (r *rig) unmount(t *testing.T, path string) {
	t.Helper()
	if err := r.Client(t).Sys().UnmountWithContext(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}
