package sdktest_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestIssuedChainVerifiesThroughAnIntermediate(t *testing.T) {
	for _, kind := range []sdktest.KeyKind{sdktest.ECDSAP256, sdktest.ECDSAP384, sdktest.Ed25519Key, sdktest.RSA2048} {
		root := sdktest.NewCA(t, sdktest.CAOptions{Name: "root", Key: kind})
		id := root.Intermediate(t).Issue(t, sdktest.Leaf{DNS: []string{"b.example"}, Key: kind})
		roots, inter := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(root.Certificate)
		for _, c := range id.Chain[1:] {
			inter.AddCert(c)
		}
		if _, err := id.Leaf.Verify(x509.VerifyOptions{DNSName: "b.example", Roots: roots, Intermediates: inter}); err != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
		if _, err := tls.X509KeyPair(id.CertPEM(), id.KeyPEM()); err != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

func TestCRLIsSignedAndNumbered(t *testing.T) {
	ca := sdktest.NewCA(t)
	id := ca.Issue(t, sdktest.Leaf{})
	first, second := ca.CRL(t, sdktest.CRLOptions{}), ca.CRL(t, sdktest.CRLOptions{Revoked: []*x509.Certificate{id.Leaf}})
	if err := second.CheckSignatureFrom(ca.Certificate); err != nil {
		t.Fatal(err)
	}
	if first.Number.Cmp(second.Number) >= 0 {
		t.Errorf("numbers %v then %v, want them to rise", first.Number, second.Number)
	}
	if got := second.RevokedCertificateEntries; len(got) != 1 || got[0].SerialNumber.Cmp(id.Leaf.SerialNumber) != 0 {
		t.Errorf("revoked %v, want the leaf's serial number alone", got)
	}
}

func TestClockStandsUntilMoved(t *testing.T) {
	c := sdktest.NewClock(time.Unix(100, 0))
	first := c.Now()
	if c.Now() != first || c.Advance(time.Second) != time.Unix(101, 0) || c.Now() != time.Unix(101, 0) {
		t.Error("the clock moved by itself, or not when told to")
	}
}

func ExampleNewCA() {
	t := failer{}
	ca := sdktest.NewCA(t)
	id := ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}})
	fmt.Println(id.Leaf.DNSNames, id.Leaf.CheckSignatureFrom(ca.Certificate))
	// Output: [b.example] <nil>
}

// failer stands where a *testing.T would be in a real test.
type failer struct{}

func (failer) Helper()                           {}
func (failer) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
