package sdk_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// One source of trust that fails behind others that answer is seen, though the bundle is in service.
func TestStatusTellsThatPartOfTheTrustIsNotFresh(t *testing.T) {
	second := &source{roots: []*x509.Certificate{sdktest.NewCA(t).Certificate}}
	m := newMesh(t, 2, nil, func(n *node, b *sdk.Builder) {
		if n.name == "a" {
			b.Trust = sdk.JoinTrust(n.trust, second)
			b.Peers[0].Trust = sdk.JoinTrust(n.trust, second)
		}
	})
	a := m.nodes[0]
	second.set(func(s *source) { s.err = sdk.ErrUnavailable })
	a.pull(t)
	a.pull(t)
	st := a.fed.Status()
	for name, got := range map[string]sdk.MaterialStatus{"Trust": st.Trust, "Peers[0].Trust": *st.Peers[0].Trust} {
		if !errors.Is(got.Partial, sdk.ErrUnavailable) || !strings.Contains(got.Partial.Error(), "source 1") || got.Err != nil || got.State != "fresh" {
			t.Errorf("%s is %+v, want fresh material of which source 1 is missing", name, got)
		}
	}
	warned := 0
	for _, w := range a.fed.Check(t.Context()).Warnings {
		if w.Field == "Trust" && errors.Is(w, sdk.ErrUnavailable) {
			warned++
		}
	}
	if warned != 2 {
		t.Errorf("Check warns %d times, want once of each trust", warned)
	}
	told := func(kind sdk.EventKind) (n int) {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, e := range a.events {
			if e.Kind == kind && e.Role == sdk.RoleTrust && e.Peer == "" {
				n++
			}
		}
		return n
	}
	a.waitEvent(t, "failed", func(e sdk.Event) bool { return e.Kind == sdk.EventFailed && e.Peer == "" && e.Err != nil })

	second.set(func(s *source) { s.err = nil })
	a.pull(t)
	a.waitEvent(t, "recovered", func(e sdk.Event) bool { return e.Kind == sdk.EventRecovered && e.Peer == "" })
	if n := told(sdk.EventFailed); n != 1 {
		t.Errorf("the failure was told %d times, want once", n)
	}
	if st := a.fed.Status(); st.Trust.Partial != nil || st.Peers[0].Trust.Partial != nil {
		t.Errorf("Partial is %v and %v after the recovery", st.Trust.Partial, st.Peers[0].Trust.Partial)
	}
}
