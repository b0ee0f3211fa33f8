package sdk

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// forgotten returns the revocation lists of old of which b has no issue that is as new, as long as they can matter: their
// issuer is among roots, or is no root at all and the list has not run out.
func forgotten(old, b *bundle, roots []*x509.Certificate) []*x509.RevocationList {
	var out []*x509.RevocationList
	for _, l := range old.crls {
		if slices.ContainsFunc(b.crls, func(n *x509.RevocationList) bool { return sameSeries(l, n) && !older(n, l) }) {
			continue
		}
		if slices.ContainsFunc(old.crls, func(n *x509.RevocationList) bool { return sameSeries(l, n) && older(l, n) }) {
			continue // the newer one stands for both
		}
		issued := func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, l.RawIssuer) && l.CheckSignatureFrom(c) == nil
		}
		if slices.ContainsFunc(roots, issued) || !slices.ContainsFunc(old.roots, issued) && time.Now().Before(l.NextUpdate) {
			out = append(out, l)
		}
	}
	return out
}

// oidIssuingDistribution marks a list that covers a part of what its issuer issued (RFC 5280, section 5.2.5).
var oidIssuingDistribution = asn1.ObjectIdentifier{2, 5, 29, 28}

// sameSeries reports whether one of two lists is an issue of the other: issuer, its key and what they cover are the same.
func sameSeries(a, b *x509.RevocationList) bool {
	return bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId) && bytes.Equal(part(a), part(b))
}

func part(l *x509.RevocationList) []byte {
	for _, x := range l.Extensions {
		if x.Id.Equal(oidIssuingDistribution) {
			return x.Value
		}
	}
	return nil
}

// older compares two issues, by number (RFC 5280, section 5.2.3) where both have one.
func older(a, b *x509.RevocationList) bool {
	if a.Number != nil && b.Number != nil {
		return a.Number.Cmp(b.Number) < 0
	}
	return a.ThisUpdate.Before(b.ThisUpdate)
}

func crlNumber(l *x509.RevocationList) string {
	if l.Number == nil {
		return ""
	}
	return fmt.Sprintf(" (number %v)", l.Number)
}
