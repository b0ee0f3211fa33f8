package stepca

import (
	"testing"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
)

// The CA answers them alike, and a node with a one-time token cannot enrol again to find out.
func TestWhyACertificateIsNotRenewedIsToldApart(t *testing.T) {
	claims := func(ca *stepcatest.CA, claims map[string]any) {
		for _, p := range ca.Provisioners {
			if p["name"] == stepcatest.Nodes {
				p["claims"] = claims
			}
		}
	}
	for name, tc := range map[string]struct {
		change func(ca *stepcatest.CA)
		says   string
	}{
		"provisioner removed": {func(ca *stepcatest.CA) { ca.RemoveProvisioner(stepcatest.Nodes) }, `its provisioner "nodes" was removed`},
		"renewal disabled":    {func(ca *stepcatest.CA) { claims(ca, map[string]any{"disableRenewal": true}) }, `provisioner "nodes" allows no renewal`},
		"revoked":             {nil, "the certificate was revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			ca := startCA(t, stepcatest.Options{Database: true})
			i := newClient(t, ca).Identity(IdentityConfig{Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "a.example"})})
			leaf := mustIdentity(t, i).Certificate.Leaf
			if tc.change != nil {
				must(t, ca.Restart(func() { tc.change(ca) }))
			} else {
				must(t, ca.Revoke(leaf))
			}
			i.makeDue()
			_, err := i.Identity(t.Context())
			wantError(t, err, sdk.ErrPermission, "renewing", tc.says, "mint another")
		})
	}
}
