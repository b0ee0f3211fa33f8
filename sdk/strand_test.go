package sdk_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A CA that was made anew takes nobody out of service: as its root is held, so is what it issues.
func TestACertificateWhoseRootIsHeldIsHeldToo(t *testing.T) {
	for name, release := range map[string]func(*testing.T, *node){
		"until the bundle is confirmed": func(t *testing.T, a *node) {
			held := a.fed.Status().Held
			if len(held) != 1 {
				t.Fatalf("held: %+v", held)
			}
			if err := a.fed.Confirm(t.Context(), held[0].ID); err != nil {
				t.Fatal(err)
			}
		},
		"until the old one is distrusted": func(t *testing.T, a *node) {
			if err := a.fed.Distrust(a.fed.Status().Fingerprint); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, 2, nil, nil)
			a := m.nodes[0]
			before := a.fed.Status().Fingerprint
			other := sdktest.NewCA(t)
			next := other.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}}).TLS
			a.trust.mu.Lock() // without a word: the certificate is known first
			a.trust.roots = []*x509.Certificate{other.Certificate}
			a.trust.mu.Unlock()
			a.identity.set(func(s *source) { s.cert = next })
			e := a.waitEvent(t, "refused", func(e sdk.Event) bool { return e.Kind == sdk.EventRefused && e.Role == sdk.RoleIdentity })
			if !errors.Is(e.Err, sdk.ErrMaterial) || !strings.Contains(e.Err.Error(), "a.example") || !strings.Contains(e.Err.Error(), "Confirm") {
				t.Errorf("refused for %v, want the certificate and the cure", e.Err)
			}
			st := a.fed.Status()
			if st.Fingerprint != before || st.Identity.State != "failing" || st.Identity.Err == nil {
				t.Errorf("in service is %s, identity %+v, want the one before", st.Fingerprint, st.Identity)
			}
			if report := a.fed.Check(t.Context()); !report.OK() {
				t.Errorf("with the certificate before: %v", report.Err())
			}
			release(t, a)
			a.waitChange(t, sdk.RoleIdentity, 2)
			if got := a.fed.Status().Fingerprint; got != sdk.Fingerprint(next.Leaf) {
				t.Errorf("afterwards %s serves", got)
			}
		})
	}
}

// An organisation that moves to a CA of its own, which its peers trust for it alone, is not held up.
func TestACertificateOfACAThatIsNotInTheTrustServes(t *testing.T) {
	m := newMesh(t, 2, nil, nil)
	a := m.nodes[0]
	next := sdktest.NewCA(t).Issue(t, sdktest.Leaf{DNS: []string{"a.example"}}).TLS
	a.identity.set(func(s *source) { s.cert = next })
	a.waitChange(t, sdk.RoleIdentity, 2)
}
