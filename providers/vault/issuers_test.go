package vault_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
)

func TestTrustFollowsIssuerRotationWithCrossSigning(t *testing.T) {
	r := newRig(t)
	trust := r.client.Trust(vault.TrustOptions{})
	first, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rotateIssuer(t, r)
	both, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := subjects(both), []string{"Root 2", "Root of pki"}; !slices.Equal(got, want) {
		t.Fatalf("roots during the overlap %q, want %q", got, want)
	}

	// A certificate of the new issuer serves peers that know only the old root, and those with both.
	id, err := r.client.Identity(identityOptions()).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if issuer := id.Certificate.Leaf.Issuer.CommonName; issuer != "Root 2" {
		t.Fatalf("issued by %q, want the new root", issuer)
	}
	for name, b := range map[string]*sdk.TrustBundle{"old root only": first, "both": both} {
		if err := verify(id, b.Roots); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	if _, err := r.Client(t).Logical().DeleteWithContext(t.Context(), "pki/issuer/root-1"); err != nil {
		t.Fatal(err)
	}
	last, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(subjects(last), "Root of pki") {
		t.Errorf("roots %q after the old issuer was deleted", subjects(last))
	}
	if err := verify(id, last.Roots); err != nil {
		t.Errorf("the new certificate against the new root: %v", err)
	}
}

// rotateIssuer makes a second root, cross-signs it by the first, and makes it the default, as
// docs/vault.md tells.
func rotateIssuer(t *testing.T, r *rig) {
	t.Helper()
	root2 := r.Write(t, "pki/root/generate/internal", map[string]any{
		"common_name": "Root 2", "issuer_name": "root-2", "key_name": "key-2", "key_type": "ec", "ttl": "8760h",
	})
	csr := r.Write(t, "pki/intermediate/cross-sign", map[string]any{"common_name": "Root 2", "key_ref": "key-2"})
	cross := r.Write(t, "pki/issuer/root-1/sign-intermediate", map[string]any{
		"csr": csr["csr"], "common_name": "Root 2", "use_csr_values": true, "ttl": "4380h",
	})
	imported := r.Write(t, "pki/issuers/import/cert", map[string]any{"pem_bundle": cross["certificate"]})
	ids, _ := imported["imported_issuers"].([]any)
	if len(ids) == 0 {
		t.Fatalf("the cross-signed certificate was not imported: %v", imported)
	}
	r.Write(t, "pki/issuer/root-2", map[string]any{
		"issuer_name":  "root-2",
		"manual_chain": []any{root2["issuer_id"], ids[0], "root-1"},
	})
	r.Write(t, "pki/config/issuers", map[string]any{"default": "root-2"})
}

func verify(id *sdk.Identity, roots []*x509.Certificate) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: "a.example", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range roots {
		o.Roots.AddCert(c)
	}
	for _, der := range id.Certificate.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		o.Intermediates.AddCert(c)
	}
	_, err := id.Certificate.Leaf.Verify(o)
	return err
}

// What an issuer has signed lives on when it is kept from signing more.
func TestAnIssuerThatIsDisabledStaysTrustedWithItsCRL(t *testing.T) {
	r := newRig(t)
	rotateIssuer(t, r)
	trust := r.client.Trust(vault.TrustOptions{})
	id, err := r.client.Identity(identityOptions()).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Write(t, "pki/revoke", map[string]any{"serial_number": serial(id.Certificate.Leaf)})
	for _, disable := range []func(){
		func() { r.Write(t, "pki/config/issuers", map[string]any{"default": "root-1"}) },
		func() {
			r.Write(t, "pki/issuer/root-2", map[string]any{"issuer_name": "root-2", "usage": "read-only,crl-signing"})
		},
		func() { r.Read(t, "pki/crl/rotate") },
		func() { r.Write(t, "pki/issuer/root-2/revoke", nil) },
	} {
		disable()
		b, err := trust.TrustBundle(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := subjects(b), []string{"Root 2", "Root of pki"}; !slices.Equal(got, want) {
			t.Errorf("roots %q, want %q", got, want)
		}
		if !revoked(b, id.Certificate.Leaf.SerialNumber) {
			t.Error("what it has revoked is not revoked any more")
		}
	}
}

// An issuer may be deleted between the list and the request for it.
func TestTrustIsWithoutAnIssuerThatIsDeletedMeanwhile(t *testing.T) {
	for _, part := range []string{"/json", "/crl/der"} {
		t.Run(part, func(t *testing.T) {
			r := newRig(t)
			r.Write(t, "pki/root/generate/internal", map[string]any{"common_name": "Root 2", "issuer_name": "root-2", "key_type": "ec"})
			id, _ := r.Read(t, "pki/issuer/root-2")["issuer_id"].(string)
			r.proxy.Set(func(_ http.ResponseWriter, req *http.Request) bool {
				if strings.HasSuffix(req.URL.Path, "pki/issuer/"+id+part) {
					r.Delete(t, "pki/issuer/root-2")
				}
				return false
			})
			b, err := r.client.Trust(vault.TrustOptions{}).TrustBundle(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, want := subjects(b), []string{"Root of pki"}; !slices.Equal(got, want) {
				t.Errorf("roots %q, want %q", got, want)
			}
		})
	}
}

// A restored Vault numbers its CRLs from where the backup was. What it revokes from then on must arrive, and what it has
// forgotten must not be trusted again without a decision.
func TestARestoredVaultRevokesOn(t *testing.T) {
	r := newRig(t)
	restore := r.Backup(t)
	identity := func(name string) (*vault.Identity, *sdk.Identity) {
		i := r.client.Identity(vault.IdentityOptions{Role: "node", DNS: []string{name}})
		id, err := i.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return i, id
	}
	_, one := identity("a.example")
	_, two := identity("b.example")
	for range 5 { // CRLs
		r.Write(t, "pki/revoke", map[string]any{"serial_number": serial(one.Certificate.Leaf)})
		r.Read(t, "pki/crl/rotate")
	}
	trust := r.client.Trust(vault.TrustOptions{})
	b, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !revoked(b, one.Certificate.Leaf.SerialNumber) {
		t.Fatal("the first certificate is not revoked")
	}
	before := b.CRLs[0]

	restore(t)
	within(t, "the next second", func() bool { return time.Now().After(before.ThisUpdate.Add(2 * time.Second)) })
	r.Write(t, "pki/revoke", map[string]any{"certificate": pemOf(two.Certificate.Leaf)})
	if b, err = trust.TrustBundle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !revoked(b, two.Certificate.Leaf.SerialNumber) {
		t.Error("what was revoked since is not")
	}
	if b.CRLs[0].Number.Cmp(before.Number) >= 0 {
		t.Errorf("CRL number %v after %v: nothing was restored", b.CRLs[0].Number, before.Number)
	}
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
