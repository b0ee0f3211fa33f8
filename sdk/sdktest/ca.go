package sdktest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync/atomic"
	"time"
)

// CAOptions describe a certificate authority. The zero value is an ECDSA P-256 CA named "sdktest CA", valid
// from an hour ago for ten years.
type CAOptions struct {
	Name      string        // common name; default "sdktest CA"
	Key       KeyKind       // default ECDSAP256
	Signer    crypto.Signer // use this key instead of a new one, to cross-sign or renew a CA
	NotBefore time.Time     // default one hour ago
	NotAfter  time.Time     // default ten years after NotBefore
}

// A CA issues certificates for tests. It is safe for concurrent use.
type CA struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	parents     []*x509.Certificate // from the issuer of Certificate up, without the root
	serial      *atomic.Int64
}

// NewCA makes a self-signed certificate authority.
func NewCA(t TB, options ...CAOptions) *CA {
	t.Helper()
	return newCA(t, nil, options)
}

// Intermediate makes a CA below this one. What it issues carries the chain up to, and without, the root.
func (ca *CA) Intermediate(t TB, options ...CAOptions) *CA {
	t.Helper()
	return newCA(t, ca, options)
}

// PEM is the CA's certificate, as a trust bundle file holds it.
func (ca *CA) PEM() []byte { return CertPEM(ca.Certificate) }

func newCA(t TB, parent *CA, options []CAOptions) *CA {
	t.Helper()
	var o CAOptions
	switch len(options) {
	case 0:
	case 1:
		o = options[0]
	default:
		t.Fatalf("sdktest: %d CAOptions given, want at most one", len(options))
	}
	if o.Name == "" {
		o.Name = "sdktest CA"
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = time.Now().Add(-time.Hour)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = o.NotBefore.AddDate(10, 0, 0)
	}
	key := o.Signer
	if key == nil {
		key = NewKey(t, o.Key)
	}
	template := &x509.Certificate{
		SerialNumber:          randomSerial(t),
		Subject:               pkix.Name{CommonName: o.Name},
		NotBefore:             o.NotBefore,
		NotAfter:              o.NotAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	ca := &CA{Key: key, serial: new(atomic.Int64)}
	issuer, issuerKey := template, key
	if parent != nil {
		issuer, issuerKey = parent.Certificate, parent.Key
	}
	ca.Certificate = sign(t, template, issuer, key.Public(), issuerKey)
	if parent != nil {
		ca.parents = append([]*x509.Certificate{ca.Certificate}, parent.parents...)
	}
	return ca
}

func sign(t TB, template, issuer *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, key)
	if err != nil {
		t.Fatalf("sdktest: sign certificate %q: %v", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("sdktest: parse certificate %q: %v", template.Subject.CommonName, err)
	}
	return cert
}

func randomSerial(t TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatalf("sdktest: make a serial number: %v", err)
	}
	return n
}
