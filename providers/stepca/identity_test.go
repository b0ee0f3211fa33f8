package stepca

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
)

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func TestIdentityEnrolsOnceAndRenews(t *testing.T) {
	for _, intermediates := range []int{1, 2, 3} {
		ca := startCA(t, stepcatest.Options{Intermediates: intermediates})
		c := newClient(t, ca)
		i := c.Identity(IdentityConfig{Names: []string{"a.example", "127.0.0.1", "spiffe://example/a"}, Enrolment: nodes()})
		first := mustIdentity(t, i)
		if n := len(first.Certificate.Certificate); n != 1+intermediates {
			t.Errorf("the chain has %d certificates, want %d", n, 1+intermediates)
		}
		if d := first.RefreshAfter; d < 15*time.Hour || d > 16*time.Hour {
			t.Errorf("RefreshAfter is %v for a certificate of 24 h, want 16 h", d)
		}
		if again := mustIdentity(t, i); again.Certificate.Leaf != first.Certificate.Leaf {
			t.Error("a pull that need not enrol did")
		}
		i.makeDue()
		second := mustIdentity(t, i)
		if second.Certificate.Leaf.Equal(first.Certificate.Leaf) {
			t.Fatal("a due certificate was not renewed")
		}
		if n := ca.Requests.Count("POST", "/renew"); n != 1 {
			t.Errorf("renewal was asked for %d times, want once over mutual TLS", n)
		}
		if n := ca.Requests.Count("POST", "/sign"); n != 1 {
			t.Errorf("%d enrolments, want 1", n)
		}
		if n := len(second.Certificate.Certificate); n != 1+intermediates {
			t.Errorf("the renewed chain has %d certificates, want %d", n, 1+intermediates)
		}
		verify(t, second.Certificate, ca)
	}
}

// verify holds a certificate against the CA's roots, for both ends of a connection, at the end of its life: one of seconds may
// be over by now.
func verify(t testing.TB, cert *tls.Certificate, ca *stepcatest.CA) {
	t.Helper()
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range ca.Roots {
		roots.AddCert(r.Certificate)
	}
	for _, der := range cert.Certificate[1:] {
		crt, err := x509.ParseCertificate(der)
		must(t, err)
		inter.AddCert(crt)
	}
	for _, u := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{u}, CurrentTime: cert.Leaf.NotAfter,
		}); err != nil {
			t.Error(err)
		}
	}
}
