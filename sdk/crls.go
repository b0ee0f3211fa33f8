package sdk

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/crl"
)

// forgotten returns the revocation lists of old that b would lose, as long as they can matter: their issuer is among
// roots, or is no root at all and the list has not run out. A later issue stands for an earlier one if one of issuers
// signed both. If none of them signed the earlier, which is then an intermediate's that nobody has shown, nothing proves
// the later one: what it seems to replace is in beside, to stay next to it until it runs out, and needs no decision. One
// that never runs out does need one. A list that is not enforced takes the place of none.
func forgotten(old, b *bundle, roots, issuers []*x509.Certificate) (back, beside []*x509.RevocationList) {
	for _, l := range old.crls {
		signers := signersOf(l, issuers)
		switch {
		case crl.Check(l) != nil:
			continue // it revoked nothing
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
		switch {
		case len(signers) > 0 || !slices.ContainsFunc(b.crls, func(n *x509.RevocationList) bool { return sameSeries(l, n) && !older(n, l) }):
			back = append(back, l)
		case len(l.RevokedCertificateEntries) == 0: // nothing to lose
		case l.NextUpdate.IsZero():
			back = append(back, l)
		default:
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

// sameSeries reports whether two lists that can be enforced claim to be issues of one: issuer, its key and what they
// cover are the same.
func sameSeries(a, b *x509.RevocationList) bool {
	return bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId) && bytes.Equal(crl.Part(a), crl.Part(b)) &&
		crl.Check(a) == nil && crl.Check(b) == nil
}

// notEnforced says of the newest list in b that could stand for l, were it enforced, why it is not; "" if there is none.
func notEnforced(b *bundle, l *x509.RevocationList) string {
	var newest *x509.RevocationList
	for _, n := range b.crls {
		if bytes.Equal(n.RawIssuer, l.RawIssuer) && !older(n, l) && crl.Check(n) != nil && (newest == nil || older(newest, n)) {
			newest = n
		}
	}
	if newest == nil {
		return ""
	}
	return fmt.Sprintf("; the one that it has%s is not enforced: it %v", crlNumber(newest), crl.Check(newest))
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
