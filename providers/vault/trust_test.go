package vault_test

import (
	"context"
	"crypto/x509"
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
	if b.RefreshAfter > time.Minute || !errors.Is(b.Partial, sdk.ErrUnavailable) || !strings.Contains(b.Partial.Error(), "sealed") {
		t.Errorf("RefreshAfter %v and Partial %v while a mount is away", b.RefreshAfter, b.Partial)
	}
	r.proxy.Set(nil)
	if b, err := trust.TrustBundle(t.Context()); err != nil || b.Partial != nil || len(trust.Failures()) > 0 {
		t.Errorf("afterwards: %v, %+v, failures %v", err, b, trust.Failures())
	}
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

// A Trust pulls one at a time; whoever waits for a turn does so within its own context.
func TestAPullThatWaitsForAnotherEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	trust := r.client.Trust(vault.TrustOptions{})
	if _, err := trust.TrustBundle(t.Context()); err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{}, 16)
	r.proxy.Set(func(_ http.ResponseWriter, req *http.Request) bool {
		entered <- struct{}{}
		<-req.Context().Done()
		return true
	})
	first, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = trust.TrustBundle(first)
	}()
	<-entered
	second, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := trust.TrustBundle(second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("waited %v with a context of 50 ms", took)
	}
	stop()
	<-ended
}
