package transport

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/internal/crl"
	"github.com/alphaonedev/federation/internal/fault"
)

// A scope is a compiled Trust. Immutable but for what it remembers; two Trusts with the same contents share
// one, across snapshots too, so that comparing pointers compares contents.
type scope struct {
	key   [32]byte
	pool  *x509.CertPool
	roots map[string]bool              // by DER
	crls  map[string][]*revocationList // by issuer's raw subject
}

// scopeKey hashes what a Trust contains.
func scopeKey(t *Trust) [32]byte {
	h := sha256.New()
	for _, r := range t.Roots {
		h.Write(r.Raw)
	}
	h.Write([]byte{0})
	for _, l := range t.CRLs {
		h.Write(l.Raw)
	}
	return [32]byte(h.Sum(nil))
}

func checkTrust(t *Trust) error {
	if t == nil || len(t.Roots) == 0 {
		return fmt.Errorf("no roots: at least one is needed: %w", fault.ErrMaterial)
	}
	for i, r := range t.Roots {
		if r == nil || len(r.Raw) == 0 {
			return fmt.Errorf("root %d is not a parsed certificate: %w", i, fault.ErrMaterial)
		}
	}
	for i, l := range t.CRLs {
		if l == nil || len(l.Raw) == 0 {
			return fmt.Errorf("CRL %d is not a parsed revocation list: %w", i, fault.ErrMaterial)
		}
	}
	return nil
}

// compileScope returns the scope and the CRLs that it leaves out, each with the reason.
func compileScope(t *Trust, key [32]byte) (*scope, []error) {
	s := &scope{key: key, pool: x509.NewCertPool(), roots: make(map[string]bool, len(t.Roots))}
	for _, r := range t.Roots {
		s.pool.AddCert(r)
		s.roots[string(r.Raw)] = true
	}
	var ignored []error
	for _, l := range t.CRLs {
		c, err := compileCRL(l)
		if err == nil {
			err = c.vouched(t.Roots)
		}
		if err != nil {
			ignored = append(ignored, fmt.Errorf("CRL of %q: %w", l.Issuer.String(), err))
			continue
		}
		if s.crls == nil {
			s.crls = make(map[string][]*revocationList)
		}
		s.crls[string(l.RawIssuer)] = append(s.crls[string(l.RawIssuer)], c)
	}
	return s, ignored
}

// revoked returns an error if a certificate of the chain, which ends in a root, is revoked, or if strict and
// no list for its issuer is recent enough. until is when the answer may change by the passing of time alone.
func (s *scope) revoked(chain []*x509.Certificate, now time.Time, strict bool, grace time.Duration) (until time.Time, err error) {
	for i := 0; i+1 < len(chain); i++ {
		lists := s.crls[string(chain[i].RawIssuer)]
		fresh, any := time.Time{}, false
		for _, l := range lists {
			if !l.signedBy(chain[i+1]) {
				continue
			}
			any = true
			if l.revoked[string(chain[i].SerialNumber.Bytes())] {
				return until, fmt.Errorf("certificate %x of %q is revoked", chain[i].SerialNumber, chain[i].Issuer.String())
			}
			if next := l.list.NextUpdate; next.IsZero() {
				fresh = now.Add(24 * time.Hour)
			} else if next.After(fresh) {
				fresh = next
			}
		}
		if !strict || !any {
			continue
		}
		limit := fresh.Add(grace)
		if now.After(limit) {
			return until, fmt.Errorf("every CRL of %q is out of date, the last since %s: get a new one",
				chain[i].Issuer.String(), fresh.UTC().Format(time.RFC3339))
		}
		if until.IsZero() || limit.Before(until) {
			until = limit
		}
	}
	return until, nil
}

// A revocationList is a CRL in the form in which it is asked.
type revocationList struct {
	list    *x509.RevocationList
	revoked map[string]bool // by serial number, big-endian
	// signer is the last certificate that was found to have signed the list.
	signer atomic.Pointer[x509.Certificate]
	stale  atomic.Bool // its being stale was told
}

const reasonRemoveFromCRL = 8

func compileCRL(l *x509.RevocationList) (*revocationList, error) {
	if err := crl.Check(l); err != nil {
		return nil, err
	}
	c := &revocationList{list: l, revoked: make(map[string]bool, len(l.RevokedCertificateEntries))}
	for _, r := range l.RevokedCertificateEntries {
		if r.ReasonCode != reasonRemoveFromCRL {
			c.revoked[string(r.SerialNumber.Bytes())] = true
		}
	}
	return c, nil
}

// vouched returns an error if the list bears the name of a root and no root of that name signed it. The
// list of an intermediate is checked when the intermediate is seen.
func (c *revocationList) vouched(roots []*x509.Certificate) error {
	var err error
	for _, r := range roots {
		if string(r.RawSubject) != string(c.list.RawIssuer) {
			continue
		}
		if err = c.list.CheckSignatureFrom(r); err == nil {
			c.signer.Store(r)
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("is not signed by the root it names: %w", err)
	}
	return nil
}

func (c *revocationList) signedBy(issuer *x509.Certificate) bool {
	if s := c.signer.Load(); s != nil && s.Equal(issuer) {
		return true
	}
	if c.list.CheckSignatureFrom(issuer) != nil {
		return false
	}
	c.signer.Store(issuer)
	return true
}
