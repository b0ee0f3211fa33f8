package stepca

import (
	"crypto/ed25519"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
)

func keys() JWK { return JWK{Provisioner: stepcatest.Keys, Password: password} }

func mustKeys(t testing.TB, p sdk.KeyProvider) *sdk.KeySet {
	t.Helper()
	set, err := p.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// chainFor is the chain of set for a key.
func chainFor(set *sdk.KeySet, pub any) []*x509.Certificate {
	i := slices.IndexFunc(set.Chains, func(c []*x509.Certificate) bool {
		return c[0].PublicKey.(ed25519.PublicKey).Equal(pub.(ed25519.PublicKey))
	})
	if i < 0 {
		return nil
	}
	return set.Chains[i]
}

func TestSigningKeyIsVouchedForAndUselessInTLS(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Intermediates: 2})
	c := newClient(t, ca)
	node := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	for name, e := range map[string]Enrolment{
		"by password":               keys(),
		"by the node's certificate": X5C{Provisioner: stepcatest.Vouch, From: node},
	} {
		t.Run(name, func(t *testing.T) {
			set := mustKeys(t, newClient(t, ca).Key(KeyConfig{Names: []string{"a.example"}, Enrolment: e}))
			sig, err := set.Active.Sign(t.Context(), []byte("message"))
			must(t, err)
			pub := set.Active.Public().(ed25519.PublicKey)
			if !ed25519.Verify(pub, []byte("message"), sig) {
				t.Error("the signature does not verify")
			}
			chain := chainFor(set, pub)
			if len(chain) != 3 {
				t.Fatalf("the chain of the active key has %d certificates, want leaf and two intermediates", len(chain))
			}
			roots, inter := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(ca.Roots[0].Certificate)
			for _, i := range chain[1:] {
				inter.AddCert(i)
			}
			opts := x509.VerifyOptions{Roots: roots, Intermediates: inter, DNSName: "a.example", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
			if _, err := chain[0].Verify(opts); err != nil {
				t.Errorf("peers cannot verify the chain: %v", err)
			}
			for _, u := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
				opts.KeyUsages = []x509.ExtKeyUsage{u}
				if _, err := chain[0].Verify(opts); err == nil {
					t.Errorf("the certificate is good for TLS usage %v", u)
				}
			}
			if tlsKey := mustIdentity(t, node).Certificate.Leaf.PublicKey; pub.Equal(tlsKey) {
				t.Error("the signing key is the TLS key")
			}
		})
	}
}

func TestSigningKeyWithoutTheTemplateIsRefused(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	_, err := newClient(t, ca).Key(KeyConfig{Names: []string{"a.example"}, Enrolment: nodes()}).SigningKeys(t.Context())
	wantError(t, err, sdk.ErrMaterial, "could be used in TLS", "template")
}

func TestSigningKeysOverlap(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	dir := t.TempDir()
	c := newClient(t, ca, withState(dir))
	offset := time.Duration(0)
	c.now = func() time.Time { return time.Now().Add(offset) }
	k := c.Key(KeyConfig{Names: []string{"a.example"}, Enrolment: keys(), Lifetime: time.Hour, Lead: 10 * time.Minute, Overlap: 15 * time.Minute})
	first := mustKeys(t, k)
	if d := first.RefreshAfter; d < 39*time.Minute || d > 40*time.Minute {
		t.Errorf("RefreshAfter is %v for a certificate of 1 h, want 40 min", d)
	}
	if again := mustKeys(t, k); !samePub(again.Active.Public(), first.Active.Public()) || len(again.Published) != 0 {
		t.Error("a pull before the key is due changed the keys")
	}

	k.flow.cfg.Lifetime = 24 * time.Hour // the CA's clock stays where it is, and must not make the next one due as well
	offset = 41 * time.Minute            // due: the next is certified and published, the old one signs on
	second := mustKeys(t, k)
	if !samePub(second.Active.Public(), first.Active.Public()) || len(second.Published) != 1 {
		t.Fatalf("when due, %d keys are published beside the active one, want the next; the old one must sign on", len(second.Published))
	}
	next := second.Published[0]
	if chainFor(second, next) == nil {
		t.Error("the next key has no chain")
	}
	if d := second.RefreshAfter; d < 9*time.Minute || d > 10*time.Minute {
		t.Errorf("RefreshAfter is %v, want the lead of 10 min", d)
	}

	offset += 11 * time.Minute // 52 min: the lead is over: the new one signs, the old one lingers
	third := mustKeys(t, k)
	if !samePub(third.Active.Public(), next) || len(third.Published) != 1 || !samePub(third.Published[0], first.Active.Public()) {
		t.Fatal("after the lead the new key must sign and the old one stay published")
	}
	if d := third.RefreshAfter; d > 8*time.Minute {
		t.Errorf("RefreshAfter is %v, want the end of the old certificate", d)
	}

	other := newClient(t, ca, withState(dir)) // a restart keeps both
	other.now = c.now
	restarted := mustKeys(t, other.Key(KeyConfig{Names: []string{"a.example"}, Enrolment: keys(), Lead: 10 * time.Minute, Overlap: 15 * time.Minute}))
	if !samePub(restarted.Active.Public(), next) || len(restarted.Published) != 1 {
		t.Error("after a restart the keys differ")
	}

	offset += 9 * time.Minute // 61 min
	if last := mustKeys(t, k); !samePub(last.Active.Public(), next) || len(last.Published) != 0 || len(last.Chains) != 1 {
		t.Error("after the overlap the old key is still there")
	}
	if n := ca.Requests.Count("POST", "/sign"); n != 2 {
		t.Errorf("%d certificates were issued, want 2", n)
	}
}

func samePub(a, b any) bool { return a.(ed25519.PublicKey).Equal(b.(ed25519.PublicKey)) }
