package sdk

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// forgotten returns the revocation lists of old that b would lose, as long as they can matter: their issuer is among
// roots, or is no root at all and the list has not run out. A later issue stands for an earlier one if one of issuers
// signed both. If none of them signed the earlier, which is then an intermediate's that nobody has shown, nothing proves
// the later one: what it seems to replace is in beside, to stay next to it until it runs out, and needs no decision.
func forgotten(old, b *bundle, roots, issuers []*x509.Certificate) (back, beside []*x509.RevocationList) {
	for _, l := range old.crls {
		signers := signersOf(l, issuers)
		switch {
		case isDelta(l):
			continue
		case slices.ContainsFunc(b.crls, func(n *x509.RevocationList) bool { return bytes.Equal(n.Raw, l.Raw) || replaces(n, l, signers) }):
			continue
		case slices.ContainsFunc(old.crls, func(n *x509.RevocationList) bool { return older(l, n) && replaces(n, l, signers) }):
			continue
		case len(signers) == 0 && (names(roots, l) || names(old.roots, l) || hasKey(issuers, l)):
			continue // forged: who is named has not signed it, so it revokes nothing
		case len(signersOf(l, roots)) > 0:
			back = append(back, l)
			continue
		case len(signersOf(l, old.roots)) > 0, ranOut(l):
			continue
		}
		if len(signers) > 0 || !slices.ContainsFunc(b.crls, func(n *x509.RevocationList) bool { return sameSeries(l, n) && !older(n, l) }) {
			back = append(back, l)
		} else if len(l.RevokedCertificateEntries) > 0 && !l.NextUpdate.IsZero() { // else it would stay for ever
			beside = append(beside, l)
		}
	}
	return back, beside
}

// replaces reports whether n is an issue of l, and no older one, by one of those who signed l.
func replaces(n, l *x509.RevocationList, signers []*x509.Certificate) bool {
	return sameSeries(n, l) && !older(n, l) && len(signersOf(n, signers)) > 0
}

// signersOf returns those of issuers that signed l.
func signersOf(l *x509.RevocationList, issuers []*x509.Certificate) (out []*x509.Certificate) {
	for _, c := range issuers {
		if bytes.Equal(c.RawSubject, l.RawIssuer) && l.CheckSignatureFrom(c) == nil {
			out = append(out, c)
		}
	}
	return out
}

// names reports whether l bears the name of one of roots.
func names(roots []*x509.Certificate, l *x509.RevocationList) bool {
	return slices.ContainsFunc(roots, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, l.RawIssuer) })
}

// hasKey reports whether the key by which l says it is signed is that of one of issuers.
func hasKey(issuers []*x509.Certificate, l *x509.RevocationList) bool {
	return slices.ContainsFunc(issuers, func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubject, l.RawIssuer) && len(l.AuthorityKeyId) > 0 && bytes.Equal(c.SubjectKeyId, l.AuthorityKeyId)
	})
}

// ranOut reports whether a later issue of l is due. One that does not say when (RFC 5280, section 5.1.2.5, requires it)
// never runs out.
func ranOut(l *x509.RevocationList) bool {
	return !l.NextUpdate.IsZero() && !time.Now().Before(l.NextUpdate)
}

// issuers returns the certificates by which the signature of a revocation list can be checked: the roots of the bundles,
// and the intermediates for which they vouch and that this node or a peer has shown.
func (f *Federation) issuers(serving, b *bundle) []*x509.Certificate {
	out := slices.Concat(serving.roots, b.roots)
	add := func(chain []*x509.Certificate) {
		for i := 1; i < len(chain); i++ {
			if !slices.ContainsFunc(out, chain[i].Equal) && (serving.vouches(chain[i:]) || b.vouches(chain[i:])) {
				out = append(out, chain[i])
			}
		}
	}
	if id := f.serving.Load(); id != nil {
		if chain, err := x509.ParseCertificates(slices.Concat(id.cert.Certificate...)); err == nil {
			add(chain)
		}
	}
	if st := f.state.Load(); st != nil {
		for _, m := range st.members {
			if chain := m.seen.Load(); chain != nil {
				add(*chain)
			}
		}
	}
	return out
}

var (
	oidDeltaIndicator      = asn1.ObjectIdentifier{2, 5, 29, 27} // a list of changes alone (RFC 5280, section 5.2.4)
	oidIssuingDistribution = asn1.ObjectIdentifier{2, 5, 29, 28} // it covers a part of what its issuer issued (section 5.2.5)
)

// isDelta reports whether a list has only what changed since another. It is no issue of that one, and not used.
func isDelta(l *x509.RevocationList) bool {
	return slices.ContainsFunc(l.Extensions, func(x pkix.Extension) bool { return x.Id.Equal(oidDeltaIndicator) })
}

// sameSeries reports whether two lists claim to be issues of one: issuer, its key and what they cover are the same.
func sameSeries(a, b *x509.RevocationList) bool {
	return !isDelta(a) && !isDelta(b) && bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId) && bytes.Equal(part(a), part(b))
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
