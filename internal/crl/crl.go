// Package crl says which revocation lists (RFC 5280, section 5) this module can enforce, so that whoever keeps lists and
// whoever enforces them agree.
package crl

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

var (
	oidDelta                 = asn1.ObjectIdentifier{2, 5, 29, 27} // a list of changes alone (RFC 5280, section 5.2.4)
	oidIssuingDistribution   = asn1.ObjectIdentifier{2, 5, 29, 28} // it covers a part of what its issuer issued (section 5.2.5)
	oidCertificateIssuer     = asn1.ObjectIdentifier{2, 5, 29, 29} // an entry of a list that speaks for other issuers too (section 5.3.3)
	errDelta, errIndirectCRL = errors.New("is a delta list: give the complete one"), errors.New("is an indirect list: give the list of the issuer itself")
)

// Check returns why a list cannot be enforced whoever signed it, or nil: it is a delta or an indirect list, or has a
// critical extension that is not known.
func Check(l *x509.RevocationList) error {
	for _, x := range l.Extensions {
		switch {
		case x.Id.Equal(oidDelta):
			return errDelta
		case x.Id.Equal(oidIssuingDistribution) || !x.Critical:
		default:
			return fmt.Errorf("has an unknown critical extension %s: have the list issued without it", x.Id)
		}
	}
	for _, r := range l.RevokedCertificateEntries {
		for _, x := range r.Extensions {
			if x.Id.Equal(oidCertificateIssuer) {
				return errIndirectCRL
			}
		}
	}
	return nil
}

// Part returns what a list says it covers (section 5.2.5), as encoded; nil is everything that its issuer issued.
func Part(l *x509.RevocationList) []byte {
	for _, x := range l.Extensions {
		if x.Id.Equal(oidIssuingDistribution) {
			return x.Value
		}
	}
	return nil
}
