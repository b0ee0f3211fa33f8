package sdktest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"
)

// CRLOptions describe a revocation list (RFC 5280, section 5). The zero value is an empty list, current from a
// minute ago for a day.
type CRLOptions struct {
	Revoked    []*x509.Certificate
	ThisUpdate time.Time // default one minute ago
	NextUpdate time.Time // default 24 hours after ThisUpdate
	Number     int64     // default: one more than this CA's last
}

// CRL makes a revocation list signed by this CA.
func (ca *CA) CRL(t TB, o CRLOptions) *x509.RevocationList {
	t.Helper()
	if o.ThisUpdate.IsZero() {
		o.ThisUpdate = time.Now().Add(-time.Minute)
	}
	if o.NextUpdate.IsZero() {
		o.NextUpdate = o.ThisUpdate.Add(24 * time.Hour)
	}
	if o.Number == 0 {
		o.Number = ca.serial.Add(1)
	}
	template := &x509.RevocationList{
		Number:     big.NewInt(o.Number),
		ThisUpdate: o.ThisUpdate,
		NextUpdate: o.NextUpdate,
	}
	for _, c := range o.Revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber:   c.SerialNumber,
			RevocationTime: o.ThisUpdate,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.Certificate, ca.Key)
	if err != nil {
		t.Fatalf("sdktest: sign a revocation list: %v", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatalf("sdktest: parse a revocation list: %v", err)
	}
	return list
}

// CRLPEM encodes revocation lists in PEM.
func CRLPEM(lists ...*x509.RevocationList) []byte {
	var out []byte
	for _, l := range lists {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: l.Raw})...)
	}
	return out
}
