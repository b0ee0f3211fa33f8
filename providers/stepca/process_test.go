package stepca

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
)

// The command itself, as an administrator runs it, gives what the authority in this process gives.
func TestAgainstTheCommand(t *testing.T) {
	path := stepcatest.Command(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ca := startCA(t, stepcatest.Options{Intermediates: 2, Database: true, CRL: true})
	must(t, ca.Stop())
	p, err := ca.StartProcess(ctx, path)
	must(t, err)
	t.Cleanup(func() { p.Stop() })

	c := newClient(t, ca, withState(t.TempDir()))
	trust := c.Trust(TrustConfig{CRL: CRLRequired})
	if b := mustTrust(t, trust); len(b.Roots) != 1 || len(b.CRLs) != 1 {
		t.Errorf("%d roots and %d CRLs, want one of each", len(b.Roots), len(b.CRLs))
	}
	node := c.Identity(IdentityConfig{Names: []string{"a.example", "spiffe://example/a"}, Enrolment: nodes()})
	first := mustIdentity(t, node)
	verify(t, first.Certificate, ca)
	node.makeDue()
	second := mustIdentity(t, node)
	verify(t, second.Certificate, ca)
	if second.Certificate.Leaf.Equal(first.Certificate.Leaf) || len(second.Certificate.Certificate) != 3 {
		t.Error("not renewed, or without its whole chain")
	}
	set := mustKeys(t, c.Key(KeyConfig{Names: []string{"a.example"}, Enrolment: X5C{Provisioner: stepcatest.Vouch, From: node}}))
	if chainFor(set, set.Active.Public().(ed25519.PublicKey)) == nil {
		t.Error("the signing key has no chain")
	}
	mustIdentity(t, newClient(t, ca).Identity(IdentityConfig{Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "b.example"})}))
	used := mintToken(t, ca, stepcatest.Token{Subject: "b.example"})
	mustIdentity(t, newClient(t, ca).Identity(IdentityConfig{Enrolment: used}))
	_, err = newClient(t, ca).Identity(IdentityConfig{Enrolment: used}).Identity(t.Context())
	wantError(t, err, sdk.ErrPermission, "used before")

	must(t, p.Stop())
	node.makeDue()
	_, err = node.Identity(t.Context())
	wantError(t, err, sdk.ErrUnavailable)
	if p, err = ca.StartProcess(ctx, path); err != nil {
		t.Fatal(err)
	}
	mustIdentity(t, node)
}
