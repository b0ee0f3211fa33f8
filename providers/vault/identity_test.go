package vault_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
)

func serial(c *x509.Certificate) string {
	var parts []string
	for _, b := range c.SerialNumber.Bytes() {
		parts = append(parts, fmt.Sprintf("%02x", b))
	}
	return strings.Join(parts, ":")
}

func TestIdentityIsWhatWasAskedFor(t *testing.T) {
	r := newRig(t)
	o := identityOptions()
	o.IPs = []net.IP{net.IPv4(10, 0, 0, 1), net.ParseIP("2001:db8::1")}
	o.TTL = 2 * time.Hour
	id, err := r.client.Identity(o).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leaf := id.Certificate.Leaf
	if !slices.Equal(leaf.DNSNames, o.DNS) || len(leaf.URIs) != 1 || len(leaf.IPAddresses) != 2 {
		t.Errorf("names %v %v %v", leaf.DNSNames, leaf.URIs, leaf.IPAddresses)
	}
	if life := time.Until(leaf.NotAfter); life < 119*time.Minute || life > 2*time.Hour {
		t.Errorf("life %v, want 2h", life)
	}
	if want := 80 * time.Minute; id.RefreshAfter > want {
		t.Errorf("RefreshAfter %v, want at most two thirds of the life, %v", id.RefreshAfter, want)
	}
	if len(id.Certificate.Certificate) != 1 {
		t.Errorf("chain of %d, want the leaf alone below a root", len(id.Certificate.Certificate))
	}
}

func TestIdentityMakesEveryKindOfKey(t *testing.T) {
	r := newRig(t)
	for kind, check := range map[vault.KeyType]func(crypto.PublicKey) bool{
		vault.ECDSAP256: func(k crypto.PublicKey) bool {
			e, ok := k.(*ecdsa.PublicKey)
			return ok && e.Curve == elliptic.P256()
		},
		vault.ECDSAP384: func(k crypto.PublicKey) bool {
			e, ok := k.(*ecdsa.PublicKey)
			return ok && e.Curve == elliptic.P384()
		},
		vault.Ed25519: func(k crypto.PublicKey) bool { _, ok := k.(ed25519.PublicKey); return ok },
		vault.RSA2048: func(k crypto.PublicKey) bool { e, ok := k.(*rsa.PublicKey); return ok && e.N.BitLen() == 2048 },
	} {
		o := identityOptions()
		o.KeyType = kind
		id, err := r.client.Identity(o).Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !check(id.Certificate.Leaf.PublicKey) {
			t.Errorf("kind %d gave %T", kind, id.Certificate.Leaf.PublicKey)
		}
	}
}

func TestIdentityUsesTheCallersKey(t *testing.T) {
	r := newRig(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := identityOptions()
	o.Key = struct{ crypto.Signer }{key} // anything that signs
	id, err := r.client.Identity(o).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !key.PublicKey.Equal(id.Certificate.Leaf.PublicKey) {
		t.Error("the certificate is for another key")
	}
}

func TestIdentityPresentsItsIntermediates(t *testing.T) {
	r := newRig(t)
	intermediate(t, r)
	o := identityOptions()
	o.Mount = "pki-int"
	id, err := r.client.Identity(o).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(id.Certificate.Certificate); n != 2 {
		t.Fatalf("chain of %d, want leaf and intermediate", n)
	}
	b, err := r.client.Trust(vault.TrustOptions{}).TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(id, b.Roots); err != nil {
		t.Error(err)
	}
}

func TestIdentityEnrolsOnceUntilItIsDue(t *testing.T) {
	r := newRig(t)
	identity := r.client.Identity(identityOptions())
	var first *sdk.Identity
	for range 5 {
		id, err := identity.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !first.Certificate.Leaf.Equal(id.Certificate.Leaf) {
			t.Fatal("another certificate before the first was due")
		}
		first = id
	}
	if n := r.proxy.Count("pki/sign"); n != 1 {
		t.Errorf("%d certificates were asked for, want 1", n)
	}
	if due := vault.Due(identity).String(); strings.Contains(due, "m=") {
		t.Errorf("it is due by the monotonic clock, %s, which stands still while a machine sleeps", due)
	}
}

func TestIdentityRenewsWhenDueWithANewKeyAndRevokesTheOld(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := newRig(t)
	r.Policy(t, "node", vaulttest.NodePolicy("pki", "node", "transit", "node-a")+`path "pki/revoke" { capabilities = ["update"] }`)
	o := identityOptions()
	// The last third must do for the renewal and the revocation on a machine that is busy: Vault revokes nothing that ends
	// within 2 s.
	o.TTL, o.RevokeAfter = 24*time.Second, time.Millisecond
	identity := r.client.Identity(o)
	first, err := identity.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var second *sdk.Identity
	within(t, "the renewal", func() bool {
		if second, err = identity.Identity(t.Context()); err != nil {
			t.Fatal(err)
		}
		return !second.Certificate.Leaf.Equal(first.Certificate.Leaf)
	})
	if !time.Now().Before(first.Certificate.Leaf.NotAfter) {
		t.Error("the first certificate was not renewed before its end")
	}
	old, ok := first.Certificate.Leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || old.Equal(second.Certificate.Leaf.PublicKey) {
		t.Error("the key was used again")
	}
	within(t, "the revocation", func() bool {
		if _, err := identity.Identity(t.Context()); err != nil {
			t.Fatal(err)
		}
		when := r.Read(t, "pki/cert/"+serial(first.Certificate.Leaf))["revocation_time"].(json.Number)
		return when != "0"
	})
}

func TestIdentityGivesWordsForWhatVaultWillNotSign(t *testing.T) {
	r := newRig(t)
	r.Policy(t, "node", `path "*" { capabilities = ["update", "read"] }`)
	r.Role(t, "pki", "one-domain", map[string]any{"allow_any_name": false, "allowed_domains": "b.example", "allow_bare_domains": true})
	r.Role(t, "pki", "no-uris", map[string]any{"allowed_uri_sans": ""})
	r.Role(t, "pki", "short", map[string]any{"max_ttl": "1h"})
	r.Role(t, "pki", "server-only", map[string]any{"client_flag": false})
	r.Role(t, "pki", "rsa", map[string]any{"key_type": "rsa", "key_bits": 2048})
	r.Role(t, "pki", "drops-sans", map[string]any{"use_csr_sans": true, "allowed_uri_sans": "*"})
	r.Role(t, "pki", "needs-cn", map[string]any{"require_cn": true})
	for name, test := range map[string]struct {
		change func(*vault.IdentityOptions)
		want   error
		words  []string
	}{
		"no such mount":       {func(o *vault.IdentityOptions) { o.Mount = "pki-x" }, sdk.ErrConfig, []string{"pki-x", "Mount"}},
		"no such role":        {func(o *vault.IdentityOptions) { o.Role = "nobody" }, sdk.ErrConfig, []string{"unknown role", "nobody"}},
		"no such issuer":      {func(o *vault.IdentityOptions) { o.Issuer = "nobody" }, sdk.ErrConfig, []string{"nobody"}},
		"name is forbidden":   {func(o *vault.IdentityOptions) { o.Role = "one-domain" }, sdk.ErrConfig, []string{"a.example", "not allowed"}},
		"URI is forbidden":    {func(o *vault.IdentityOptions) { o.Role = "no-uris" }, sdk.ErrConfig, []string{"URI"}},
		"key type":            {func(o *vault.IdentityOptions) { o.Role = "rsa" }, sdk.ErrConfig, []string{"keys of type rsa"}},
		"life is clamped":     {func(o *vault.IdentityOptions) { o.Role, o.TTL = "short", 48*time.Hour }, sdk.ErrConfig, []string{"max_ttl", "48h"}},
		"no client usage":     {func(o *vault.IdentityOptions) { o.Role = "server-only" }, sdk.ErrConfig, []string{"client_flag"}},
		"common name missing": {func(o *vault.IdentityOptions) { o.Role, o.DNS = "needs-cn", nil }, sdk.ErrConfig, []string{"common_name"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := identityOptions()
			test.change(&o)
			_, err := r.client.Identity(o).Identity(t.Context())
			wantError(t, err, test.want, test.words...)
		})
	}
	t.Run("names come with the request where use_csr_sans is on", func(t *testing.T) {
		o := identityOptions()
		o.Role = "drops-sans"
		if _, err := r.client.Identity(o).Identity(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestIdentityRefusesAnswersToAnotherRequest(t *testing.T) {
	r := newRig(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := identityOptions()
	o.Key = key
	var other []byte // an answer to a request with this key and other names
	r.proxy.Edit(func(path string, body []byte) []byte {
		if strings.Contains(path, "/sign/") {
			other = body
		}
		return body
	})
	wrong := o
	wrong.DNS, wrong.URIs = []string{"b.example"}, nil
	if _, err := r.client.Identity(wrong).Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer := other
	swap := func(with []byte) {
		r.proxy.Edit(func(path string, body []byte) []byte {
			if strings.Contains(path, "/sign/") {
				return with
			}
			return body
		})
	}

	swap(answer)
	_, err = r.client.Identity(o).Identity(t.Context())
	wantError(t, err, sdk.ErrConfig, `DNS name "a.example" is missing`, `"b.example" was not asked for`, `URI "spiffe://example/a" is missing`)

	_, err = r.client.Identity(identityOptions()).Identity(t.Context()) // a key of its own
	wantError(t, err, sdk.ErrMaterial, "another key")

	r.PKI(t, "pki-b")
	var parsed struct {
		Data map[string]any `json:"data"`
	}
	if err := json.Unmarshal(answer, &parsed); err != nil {
		t.Fatal(err)
	}
	parsed.Data["issuing_ca"] = r.Read(t, "pki-b/cert/ca")["certificate"]
	parsed.Data["ca_chain"] = nil
	broken, err := json.Marshal(parsed)
	if err != nil {
		t.Fatal(err)
	}
	swap(broken)
	_, err = r.client.Identity(wrong).Identity(t.Context())
	wantError(t, err, sdk.ErrMaterial, "no certificate of the answer has signed it")
}

func TestIdentityEndingWithItsIssuerIsUsedAndLogged(t *testing.T) {
	r := newRig(t)
	r.Mount(t, "pki-old", "pki")
	r.Write(t, "pki-old/root/generate/internal", map[string]any{"common_name": "Old", "issuer_name": "old", "key_type": "ec", "ttl": "2h"})
	r.Write(t, "pki-old/issuer/old", map[string]any{"issuer_name": "old", "leaf_not_after_behavior": "truncate"})
	r.Role(t, "pki-old", "node", nil)
	r.Policy(t, "node", `path "pki-old/sign/node" { capabilities = ["update"] }`)
	o := identityOptions()
	o.Mount, o.TTL = "pki-old", 24*time.Hour
	if _, err := r.client.Identity(o).Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.log.String(), "ends with its issuer") {
		t.Errorf("the log does not say that the CA runs out:\n%s", r.log)
	}
}
