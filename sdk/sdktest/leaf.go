package sdktest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"time"
)

// A Leaf describes a certificate to issue. The zero value is one for client and server with no name at all,
// valid from an hour ago for a day.
type Leaf struct {
	CommonName string
	DNS        []string
	URIs       []string // SPIFFE IDs and the like
	IPs        []net.IP
	NotBefore  time.Time          // default one hour ago
	NotAfter   time.Time          // default 24 hours from now
	Usage      []x509.ExtKeyUsage // default client and server authentication; NoUsage: none
	Key        KeyKind            // default ECDSAP256
	Signer     crypto.Signer      // use this key instead of a new one
}

// NoUsage, as a Leaf's Usage, leaves the extended key usage out.
var NoUsage = []x509.ExtKeyUsage{}

// An Issued is a certificate with its key.
type Issued struct {
	Leaf  *x509.Certificate
	Chain []*x509.Certificate // leaf first, without the root
	TLS   *tls.Certificate    // leaf first, Leaf set
	Key   crypto.Signer
	key   []byte
}

// CertPEM is the chain, leaf first.
func (i *Issued) CertPEM() []byte { return CertPEM(i.Chain...) }

// KeyPEM is the private key as PKCS #8.
func (i *Issued) KeyPEM() []byte { return i.key }

// Issue makes a key and a certificate for it.
func (ca *CA) Issue(t TB, leaf Leaf) *Issued {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          randomSerial(t),
		Subject:               pkix.Name{CommonName: leaf.CommonName},
		NotBefore:             leaf.NotBefore,
		NotAfter:              leaf.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           leaf.Usage,
		DNSNames:              leaf.DNS,
		IPAddresses:           leaf.IPs,
		BasicConstraintsValid: true,
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if leaf.Usage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	for _, s := range leaf.URIs {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatalf("sdktest: URI %q: %v", s, err)
		}
		template.URIs = append(template.URIs, u)
	}
	key := leaf.Signer
	if key == nil {
		key = NewKey(t, leaf.Key)
	}
	cert := sign(t, template, ca.Certificate, key.Public(), ca.Key)
	issued := &Issued{Leaf: cert, Key: key, Chain: append([]*x509.Certificate{cert}, ca.parents...)}
	issued.TLS = &tls.Certificate{PrivateKey: key, Leaf: cert}
	for _, c := range issued.Chain {
		issued.TLS.Certificate = append(issued.TLS.Certificate, c.Raw)
	}
	issued.key = KeyPEM(t, key)
	return issued
}
