package stepca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestTrustNeedsNothingButURLAndFingerprint(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	b := mustTrust(t, newClient(t, ca).Trust(TrustConfig{}))
	if len(b.Roots) != 1 || !b.Roots[0].Equal(ca.Roots[0].Certificate) {
		t.Fatalf("got %d roots, want the CA's one", len(b.Roots))
	}
	if len(b.CRLs) != 0 {
		t.Errorf("got %d CRLs from a CA that serves none", len(b.CRLs))
	}
}

func TestFederatedRootsAreAScopeOfTheirOwn(t *testing.T) {
	foreign := sdktest.NewCA(t, sdktest.CAOptions{Name: "another organisation"})
	ca := startCA(t, stepcatest.Options{Federated: []*x509.Certificate{foreign.Certificate}})
	c := newClient(t, ca)
	own := mustTrust(t, c.Trust(TrustConfig{}))
	if len(own.Roots) != 1 || !own.Roots[0].Equal(ca.Roots[0].Certificate) {
		t.Errorf("the own scope has %d roots, want the CA's one alone", len(own.Roots))
	}
	fed := mustTrust(t, c.Trust(TrustConfig{Scope: Federated}))
	if len(fed.Roots) != 1 || !fed.Roots[0].Equal(foreign.Certificate) {
		t.Errorf("the federated scope has %d roots, want the foreign one alone", len(fed.Roots))
	}
}

func TestFederatedScopeWithoutForeignRootsIsNotFound(t *testing.T) {
	_, err := newClient(t, startCA(t, stepcatest.Options{})).Trust(TrustConfig{Scope: Federated}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrNotFound, "federatedRoots")
}

func TestTrustHasTheCRLThatTheCAServes(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Database: true, CRL: true, Intermediates: 2})
	c := newClient(t, ca)
	trust := c.Trust(TrustConfig{CRL: CRLRequired})
	first := mustTrust(t, trust)
	if len(first.CRLs) != 1 || len(first.CRLs[0].RevokedCertificateEntries) != 0 {
		t.Fatalf("got %d CRLs, want an empty one", len(first.CRLs))
	}
	leaf := mustIdentity(t, c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})).Certificate.Leaf
	must(t, ca.Revoke(leaf))
	then := mustTrust(t, trust)
	if n := len(then.CRLs[0].RevokedCertificateEntries); n != 1 {
		t.Fatalf("after a revocation the CRL has %d entries, want 1", n)
	}
	if then.CRLs[0].RevokedCertificateEntries[0].SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Error("another certificate was revoked")
	}
}

func revokes(b *sdk.TrustBundle, leaf *x509.Certificate) bool {
	return slices.ContainsFunc(b.CRLs, func(l *x509.RevocationList) bool {
		return bytes.Equal(l.RawIssuer, leaf.RawIssuer) && bytes.Equal(l.AuthorityKeyId, leaf.AuthorityKeyId) &&
			slices.ContainsFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(leaf.SerialNumber) == 0
			})
	})
}

// A CA with a new intermediate serves the list that the old one signed, until it makes another, which the new one signs and
// which therefore revokes nothing of the old one.
func TestCRLsOfBothIntermediatesHoldWhileBothLive(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Database: true, CRL: true})
	c := newClient(t, ca)
	trust := c.Trust(TrustConfig{})
	leafOf := func(name string) *x509.Certificate {
		t.Helper()
		return mustIdentity(t, c.Identity(IdentityConfig{Names: []string{name}, Enrolment: nodes()})).Certificate.Leaf
	}
	old := leafOf("a.example")
	must(t, ca.Revoke(old))
	mustTrust(t, trust)
	must(t, ca.Restart(func() { ca.Issuer = ca.Below(ca.Roots[0], 1) }))
	if b := mustTrust(t, trust); !revokes(b, old) {
		t.Error("what the old intermediate revoked is not revoked once there is a new one")
	}
	fresh := leafOf("b.example")
	must(t, ca.Revoke(fresh))
	if b := mustTrust(t, trust); !revokes(b, old) || !revokes(b, fresh) {
		t.Errorf("revoked are the old one's certificate: %v, the new one's: %v; want both", revokes(b, old), revokes(b, fresh))
	}
}

// A restored database numbers its lists from where the backup was.
func TestACAThatWasRestoredRevokesOn(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Database: true, CRL: true})
	c := newClient(t, ca)
	trust := c.Trust(TrustConfig{})
	one, two := (*x509.Certificate)(nil), (*x509.Certificate)(nil)
	for range 3 {
		one = mustIdentity(t, c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})).Certificate.Leaf
		must(t, ca.Revoke(one))
	}
	before := mustTrust(t, trust).CRLs[0]
	two = mustIdentity(t, c.Identity(IdentityConfig{Names: []string{"b.example"}, Enrolment: nodes()})).Certificate.Leaf
	must(t, ca.Restart(func() { must(t, os.RemoveAll(ca.Database())) }))
	for time.Now().Before(before.ThisUpdate.Add(2 * time.Second)) { // its dates are whole seconds
		time.Sleep(10 * time.Millisecond)
	}
	must(t, ca.Revoke(two))
	b := mustTrust(t, trust)
	if !revokes(b, two) {
		t.Error("what was revoked since is not")
	}
	if b.CRLs[0].Number.Cmp(before.Number) >= 0 {
		t.Errorf("CRL number %v after %v: nothing was restored", b.CRLs[0].Number, before.Number)
	}
}

func TestCRLThatIsRequiredAndNotServedIsAnError(t *testing.T) {
	_, err := newClient(t, startCA(t, stepcatest.Options{})).Trust(TrustConfig{CRL: CRLRequired}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrMaterial, `"crl"`)
}

func TestCRLThatIsNoLongerServedStaysInForce(t *testing.T) {
	off := false
	ca := startCA(t, stepcatest.Options{Database: true, CRL: true, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if off && r.URL.Path == "/crl" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	trust := newClient(t, ca).Trust(TrustConfig{})
	mustTrust(t, trust)
	off = true
	if b := mustTrust(t, trust); len(b.CRLs) != 1 {
		t.Errorf("got %d CRLs, want the last one", len(b.CRLs))
	}
}

func TestRestartWithoutTheCAStillKnowsWhatIsRevoked(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Database: true, CRL: true})
	dir := t.TempDir()
	c := newClient(t, ca, withState(dir))
	leaf := mustIdentity(t, c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})).Certificate.Leaf
	must(t, ca.Revoke(leaf))
	mustTrust(t, c.Trust(TrustConfig{}))
	must(t, ca.Stop())
	for _, mode := range []CRLMode{CRLIfServed, CRLRequired} {
		b := mustTrust(t, newClient(t, ca, withState(dir)).Trust(TrustConfig{CRL: mode}))
		if len(b.CRLs) != 1 || len(b.CRLs[0].RevokedCertificateEntries) != 1 {
			t.Errorf("mode %d: %d CRLs after a restart without the CA, want the stored one", mode, len(b.CRLs))
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "crl.json"), []byte("{"), 0o600))
	_, err := newClient(t, ca, withState(dir)).Trust(TrustConfig{}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrUnavailable, "stored revocation list")
}

// wantError checks what an error is and what it says.
func wantError(t testing.TB, err, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want one that wraps %q", err, want)
		return
	}
	t.Log(err)
	for _, s := range says {
		if !contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	if contains(err.Error(), stepcatest.Password) || contains(err.Error(), "eyJ") {
		t.Errorf("error %q holds a secret", err)
	}
}
