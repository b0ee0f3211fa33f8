package vault_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
)

func subjects(b *sdk.TrustBundle) []string {
	var out []string
	for _, c := range b.Roots {
		out = append(out, c.Subject.CommonName)
	}
	slices.Sort(out)
	return out
}

func TestTrustReturnsEveryIssuerOfEveryMountWithItsCRL(t *testing.T) {
	r := newRig(t)
	r.PKI(t, "pki-b")
	b, err := r.client.Trust(vault.TrustOptions{Mounts: []string{"pki", "pki-b"}}).TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := subjects(b), []string{"Root of pki", "Root of pki-b"}; !slices.Equal(got, want) {
		t.Errorf("roots %q, want %q", got, want)
	}
	if len(b.CRLs) != 2 {
		t.Errorf("%d CRLs, want 2", len(b.CRLs))
	}
	if b.RefreshAfter != 5*time.Minute {
		t.Errorf("RefreshAfter %v, want 5m", b.RefreshAfter)
	}
}

func TestTrustNeedsNoLogin(t *testing.T) {
	r := newRig(t)
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = nil })
	if _, err := c.Trust(vault.TrustOptions{}).TrustBundle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTrustSeesRevocations(t *testing.T) {
	r := newRig(t)
	trust := r.client.Trust(vault.TrustOptions{})
	id, err := r.client.Identity(identityOptions()).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := trust.TrustBundle(t.Context()); err != nil || revoked(b, id.Certificate.Leaf.SerialNumber) {
		t.Fatalf("before: revoked, or error %v", err)
	}
	r.Write(t, "pki/revoke", map[string]any{"serial_number": serial(id.Certificate.Leaf)})
	within(t, "the revocation", func() bool {
		b, err := trust.TrustBundle(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return revoked(b, id.Certificate.Leaf.SerialNumber)
	})
}

func revoked(b *sdk.TrustBundle, serial *big.Int) bool {
	return slices.ContainsFunc(b.CRLs, func(l *x509.RevocationList) bool {
		return slices.ContainsFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(serial) == 0
		})
	})
}

func TestTrustPollAtRestIsOneListAndOneUnchangedCRL(t *testing.T) {
	r := newRig(t)
	trust := r.client.Trust(vault.TrustOptions{})
	r.proxy.Set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat)) // as if that much had passed
		return false
	})
	if _, err := trust.TrustBundle(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.proxy.Reset()
	bodies := 0
	r.proxy.Edit(func(path string, body []byte) []byte {
		if len(body) > 0 && path != "pki/issuers" {
			bodies++
		}
		return body
	})
	before, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := r.proxy.Count(""); n != 2 {
		t.Errorf("%d requests for a poll, want 2", n)
	}
	if bodies != 0 {
		t.Errorf("the CRL came again although it had not changed")
	}
	if len(before.CRLs) != 1 {
		t.Errorf("%d CRLs after an unchanged poll, want 1", len(before.CRLs))
	}
}

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

func TestTrustFiltersByIssuer(t *testing.T) {
	r := newRig(t)
	rotateIssuer(t, r)
	for name, test := range map[string]struct {
		issuers []string
		want    []string
	}{
		"by name":  {[]string{"root-2"}, []string{"Root 2"}},
		"by names": {[]string{"root-2", "root-1"}, []string{"Root 2", "Root of pki"}},
		"by id":    {[]string{r.Read(t, "pki/issuer/root-1")["issuer_id"].(string)}, []string{"Root of pki"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := r.client.Trust(vault.TrustOptions{Issuers: test.issuers}).TrustBundle(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := subjects(b); !slices.Equal(got, test.want) {
				t.Errorf("roots %q, want %q", got, test.want)
			}
		})
	}
	_, err := r.client.Trust(vault.TrustOptions{Issuers: []string{"root-9"}}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrNotFound, "root-9")
}

func TestTrustOfAnIntermediateMountIsItsRoot(t *testing.T) {
	r := newRig(t)
	intermediate(t, r)
	b, err := r.client.Trust(vault.TrustOptions{Mounts: []string{"pki-int"}}).TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := subjects(b), []string{"Root of pki"}; !slices.Equal(got, want) {
		t.Errorf("roots %q, want %q", got, want)
	}
	b, err = r.client.Trust(vault.TrustOptions{Mounts: []string{"pki-int"}, Issuers: []string{"int-1"}}).TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := subjects(b), []string{"Intermediate"}; !slices.Equal(got, want) {
		t.Errorf("roots %q when the intermediate is named, want %q", got, want)
	}
}

// intermediate mounts a CA below the root of pki, with a role.
func intermediate(t *testing.T, r *rig) {
	t.Helper()
	r.Mount(t, "pki-int", "pki")
	csr := r.Write(t, "pki-int/intermediate/generate/internal", map[string]any{"common_name": "Intermediate", "key_type": "ec"})
	cert := r.Write(t, "pki/root/sign-intermediate", map[string]any{"csr": csr["csr"], "common_name": "Intermediate", "ttl": "4380h"})
	set := r.Write(t, "pki-int/intermediate/set-signed", map[string]any{
		"certificate": cert["certificate"].(string) + "\n" + cert["issuing_ca"].(string),
	})
	for id, key := range set["mapping"].(map[string]any) {
		if key != "" {
			r.Write(t, "pki-int/issuer/"+id, map[string]any{"issuer_name": "int-1"})
			r.Write(t, "pki-int/config/issuers", map[string]any{"default": "int-1"})
		}
	}
	r.Role(t, "pki-int", "node", nil)
	r.Policy(t, "node", vaulttest.NodePolicy("pki", "node", "transit", "node-a")+vaulttest.NodePolicy("pki-int", "node", "transit", "node-a"))
}

func TestTrustKeepsAMountThatStopsAnswering(t *testing.T) {
	r := newRig(t)
	r.PKI(t, "pki-b")
	trust := r.client.Trust(vault.TrustOptions{Mounts: []string{"pki", "pki-b"}})
	r.proxy.Set(vaulttest.Status("pki-b/", 503, "", "Vault is sealed"))
	_, err := trust.TrustBundle(t.Context())
	wantError(t, err, sdk.ErrUnavailable, "pki-b", "sealed")
	r.proxy.Set(nil)
	if _, err := trust.TrustBundle(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.proxy.Set(vaulttest.Status("pki-b/", 503, "", "Vault is sealed"))
	b, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Roots) != 2 {
		t.Errorf("%d roots while one mount is away, want both", len(b.Roots))
	}
	failures := trust.Failures()
	if err := failures["pki-b"]; len(failures) != 1 || !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("failures %v, want that of pki-b", failures)
	}
	if b.RefreshAfter > time.Minute {
		t.Errorf("RefreshAfter %v while a mount is away", b.RefreshAfter)
	}
	r.proxy.Set(nil)
	if _, err := trust.TrustBundle(t.Context()); err != nil || len(trust.Failures()) > 0 {
		t.Errorf("afterwards: %v, failures %v", err, trust.Failures())
	}
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

func TestTrustRefusesForgedAnswers(t *testing.T) {
	r := newRig(t)
	r.PKI(t, "pki-b")
	foreign, err := r.HTTPClient().Get(r.URL + "/v1/pki-b/crl")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Body.Close()
	crl := make([]byte, 4096)
	n, _ := foreign.Body.Read(crl)
	for name, test := range map[string]struct {
		path, words string
		body        []byte
	}{
		"list is nonsense":         {"pki/issuers", "not what Vault sends", []byte(`{"data":{"keys":3}}`)},
		"list without data":        {"pki/issuers", "not what Vault sends", []byte(`{}`)},
		"id climbs out":            {"pki/issuers", "malformed", []byte(`{"data":{"keys":["../../sys"]}}`)},
		"issuer is no certificate": {"/json", "not one CA certificate", []byte(`{"data":{"certificate":"hello"}}`)},
		"CRL is noise":             {"/crl/der", "not a CRL", []byte("noise")},
		"CRL of another issuer":    {"/crl/der", "not signed by its issuer", crl[:n]},
	} {
		t.Run(name, func(t *testing.T) {
			r.proxy.Edit(func(path string, body []byte) []byte {
				if len(path) >= len(test.path) && path[len(path)-len(test.path):] == test.path {
					return test.body
				}
				return body
			})
			_, err := r.client.Trust(vault.TrustOptions{}).TrustBundle(t.Context())
			wantError(t, err, sdk.ErrMaterial, test.words)
		})
	}
}
