package stepca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func mintToken(t testing.TB, ca *stepcatest.CA, tok stepcatest.Token) OneTimeToken {
	t.Helper()
	s, err := ca.Token(tok)
	must(t, err)
	return OneTimeToken(s)
}

func TestEveryWayToEnrol(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Intermediates: 2})
	c := newClient(t, ca)
	own, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	byJWK := c.Identity(IdentityConfig{Names: []string{"first.example"}, Enrolment: nodes()})
	for name, cfg := range map[string]IdentityConfig{
		"one-time token": {Names: []string{"a.example"}, Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "a.example"})},
		"one-time token that says the names": {
			Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "a.example", SANs: []string{"a.example", "spiffe://example/a"}}),
		},
		"provisioner and password": {Names: []string{"a.example", "10.1.2.3"}, Enrolment: nodes()},
		"certificate":              {Names: []string{"a.example"}, Enrolment: X5C{Provisioner: stepcatest.Certs, From: byJWK}},
		"token source": {Names: []string{"a.example"}, Enrolment: TokenFunc(func(_ context.Context, r TokenRequest) (string, error) {
			if r.Audience != ca.URL+"/1.0/sign" || r.Fingerprint != ca.Fingerprint() || len(r.CSR) == 0 {
				return "", errors.New("the request is not filled in")
			}
			return ca.Token(stepcatest.Token{Subject: r.Subject, SANs: r.Names})
		})},
		"key of the caller":    {Names: []string{"a.example"}, Enrolment: nodes(), Key: own},
		"Ed25519 key":          {Names: []string{"a.example"}, Enrolment: nodes(), Key: sdktest.Ed25519(t)},
		"RSA key":              {Names: []string{"a.example"}, Enrolment: nodes(), Key: sdktest.NewKey(t, sdktest.RSA2048)},
		"lifetime of one hour": {Names: []string{"a.example"}, Enrolment: nodes(), Lifetime: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			i := newClient(t, ca).Identity(cfg)
			must(t, i.Validate())
			id := mustIdentity(t, i)
			verify(t, id.Certificate, ca)
			leaf := id.Certificate.Leaf
			if lost := missing(cfg.Names, namesOf(leaf)); len(lost) > 0 {
				t.Errorf("the certificate lacks %q", lost)
			}
			if cfg.Key != nil && !cfg.Key.Public().(interface{ Equal(x crypto.PublicKey) bool }).Equal(leaf.PublicKey) {
				t.Error("the certificate is not for the caller's key")
			}
			if got := leaf.NotAfter.Sub(leaf.NotBefore); cfg.Lifetime != 0 && got != cfg.Lifetime {
				t.Errorf("the certificate lives %v, want %v", got, cfg.Lifetime)
			}
			i.makeDue()
			renewed := mustIdentity(t, i)
			verify(t, renewed.Certificate, ca)
			if renewed.Certificate.Leaf.Equal(leaf) || !slices.Equal(namesOf(renewed.Certificate.Leaf), namesOf(leaf)) {
				t.Error("renewal gave the same certificate, or other names")
			}
		})
	}
}

func TestAPasswordMayBeAFilesContent(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	j := JWK{Provisioner: stepcatest.Nodes, Password: func(context.Context) ([]byte, error) { return []byte(stepcatest.Password + "\r\n"), nil }}
	mustIdentity(t, newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: j}))
}

func TestRenewalKeepsTheKeyUnlessRekeySaysOtherwise(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Intermediates: 2})
	for _, rekey := range []bool{false, true} {
		t.Run(fmt.Sprintf("Rekey=%v", rekey), func(t *testing.T) {
			i := newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example", "spiffe://example/a"}, Enrolment: nodes(), Rekey: rekey})
			first := mustIdentity(t, i).Certificate.Leaf
			for range 2 {
				i.makeDue()
				second := mustIdentity(t, i).Certificate
				verify(t, second, ca)
				if same := first.PublicKey.(*ecdsa.PublicKey).Equal(second.Leaf.PublicKey); same == rekey {
					t.Errorf("the renewed certificate has the same key: %v", same)
				}
				if !slices.Equal(namesOf(first), namesOf(second.Leaf)) {
					t.Error("the names differ")
				}
				first = second.Leaf
			}
		})
	}
	if n := ca.Requests.Count("POST", "/rekey"); n != 2 {
		t.Errorf("/rekey was asked for %d times, want 2", n)
	}
}

func TestExpiredCertificateIsRenewedWhereAllowedAndEnrolledAgainWhereNot(t *testing.T) {
	// The CA verifies an expired chain as of a minute before its end, so what it issues must be older than that.
	ca := startCA(t, stepcatest.Options{Intermediates: 2, Backdate: 2 * time.Minute})
	for _, tc := range []struct {
		provisioner string
		signs       int
		renewed     bool
	}{{stepcatest.Forget, 1, true}, {stepcatest.Nodes, 2, false}} {
		t.Run(tc.provisioner, func(t *testing.T) {
			before := ca.Requests.Count("POST", "/sign")
			c := newClient(t, ca)
			set := stopClock(c)
			i := c.Identity(IdentityConfig{
				Names: []string{"a.example"}, Enrolment: JWK{Provisioner: tc.provisioner, Password: password}, Lifetime: 2 * time.Second,
			})
			first := mustIdentity(t, i).Certificate.Leaf
			set(sleepPast(first.NotAfter))
			second := mustIdentity(t, i).Certificate
			verify(t, second, ca)
			if n := ca.Requests.Count("POST", "/sign") - before; n != tc.signs {
				t.Errorf("%d enrolments, want %d", n, tc.signs)
			}
			if kept := first.PublicKey.(*ecdsa.PublicKey).Equal(second.Leaf.PublicKey); kept != tc.renewed {
				t.Errorf("the key was kept: %v", kept)
			}
		})
	}
}

func TestBackdatedShortLivesAreNotRenewedWithoutEnd(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Backdate: time.Minute})
	i := newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes(), Lifetime: 20 * time.Second})
	id := mustIdentity(t, i)
	if left := time.Until(id.Certificate.Leaf.NotAfter); id.RefreshAfter < left/2-2*time.Second {
		t.Errorf("a certificate that has %v left is to be renewed in %v, want half of that", left, id.RefreshAfter)
	}
}

func TestExpiredCertificateOfAOneTimeTokenNeedsAnother(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Backdate: time.Minute})
	c := newClient(t, ca)
	set := stopClock(c)
	i := c.Identity(IdentityConfig{Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "a.example"}), Lifetime: 2 * time.Second})
	set(sleepPast(mustIdentity(t, i).Certificate.Leaf.NotAfter))
	_, err := i.Identity(t.Context())
	wantError(t, err, sdk.ErrExpired, "allowRenewalAfterExpiry", "mint another")
}

func TestACMEAgainstTheCAsOwnProvisioner(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Database: true, Intermediates: 2})
	httpAddr, alpnAddr, err := ca.ACMEPorts()
	must(t, err)
	for name, s := range map[string]Solver{"http-01": HTTP01{Addr: httpAddr}, "tls-alpn-01": TLSALPN01{Addr: alpnAddr}} {
		t.Run(name, func(t *testing.T) {
			i := newClient(t, ca).Identity(IdentityConfig{Names: []string{"localhost", "127.0.0.1"}, Enrolment: ACME{Solver: s}})
			id := mustIdentity(t, i)
			verify(t, id.Certificate, ca)
			if len(id.Certificate.Certificate) != 3 {
				t.Errorf("the chain has %d certificates, want 3", len(id.Certificate.Certificate))
			}
			i.makeDue()
			verify(t, mustIdentity(t, i).Certificate, ca)
			if n := ca.Requests.Count("POST", "/renew"); n == 0 {
				t.Error("renewal did not go over mutual TLS")
			}
		})
	}
	t.Run("challenge that the CA cannot see", func(t *testing.T) {
		lost := DNS01(func(context.Context, Challenge) (func(), error) { return func() {}, nil })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := newClient(t, ca).Identity(IdentityConfig{Names: []string{"nowhere.invalid"}, Enrolment: ACME{Solver: lost}}).Identity(ctx)
		if err == nil {
			t.Fatal("a certificate without proof")
		}
		t.Log(err)
	})
	t.Run("provisioner that is not there", func(t *testing.T) {
		_, err := newClient(t, ca).Identity(IdentityConfig{Names: []string{"localhost"}, Enrolment: ACME{Provisioner: "other", Solver: HTTP01{Addr: httpAddr}}}).Identity(t.Context())
		wantError(t, err, sdk.ErrPermission, `no ACME provisioner "other"`)
	})
}
