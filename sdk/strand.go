package sdk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"
)

// handover is how long before the end of a certificate its successor serves whatever vouches for it, or a fifth of its
// life if that is less. A pull that failed is repeated every minute.
const handover = 2 * time.Minute

// acceptIdentity keeps a new certificate out of service while the trust that would vouch for it is kept out too: a CA was
// made anew, and its provider gives a bundle without any root in service. Peers would refuse what that CA issues as
// this node would. The new certificate serves once the trust does, and in any case when the old one ends, is
// distrusted or revoked.
func (f *Federation) acceptIdentity(old, new *identity) error {
	if old == nil || f.state.Load() == nil {
		return nil // Build is under way: there is nothing to look at again yet, and nothing to look with
	}
	f.stranded.Store(true) // before looking: a change of trust from here on has the certificate looked at again
	stranded := f.onlyOldIsTrusted(old, new)
	if stranded {
		f.refreshTrust() // what is known of it may be older than the certificate
		stranded = f.onlyOldIsTrusted(old, new) && f.holds.vouch(new.chain())
	}
	f.stranded.Store(stranded)
	if !stranded {
		return nil
	}
	return fmt.Errorf("the new certificate %s is issued by %q, whose root is in the bundle that is held: %w; the one before stays until %s, or until Confirm puts the bundle into service",
		called(new.leaf()), new.leaf().Issuer, ErrMaterial, old.leaf().NotAfter.Format(time.RFC3339))
}

// refreshTrust pulls the trust of every scope. What fails is an event, and tried again.
func (f *Federation) refreshTrust() {
	ctx, cancel := context.WithTimeout(f.ctx, refreshTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range f.scopes() {
		wg.Go(func() { _ = s.source.Refresh(ctx) })
	}
	wg.Wait()
}

// lookAtStranded has a certificate that is kept out of service looked at again.
func (f *Federation) lookAtStranded() {
	if f.stranded.Load() {
		f.identity.Suspect()
	}
}

// onlyOldIsTrusted reports whether trust in service vouches for the certificate in service, which can serve on, and not
// for the new one.
func (f *Federation) onlyOldIsTrusted(old, new *identity) bool {
	// A key that lives elsewhere may be gone with its certificate.
	if !inMemory(old.cert.PrivateKey) {
		return false
	}
	leaf := old.leaf()
	if time.Until(leaf.NotAfter) <= min(handover, leaf.NotAfter.Sub(leaf.NotBefore)/5) || f.distrusts(leaf) {
		return false
	}
	before := false
	for _, s := range f.scopes() {
		b := s.serving.Load()
		if b.vouches(new.chain()) {
			return false
		}
		before = before || b.vouches(old.chain()) && !b.revokes(leaf)
	}
	return before
}

// revokes reports whether a list of the bundle names a certificate.
func (b *bundle) revokes(c *x509.Certificate) bool {
	return slices.ContainsFunc(b.crls, func(l *x509.RevocationList) bool {
		return bytes.Equal(l.RawIssuer, c.RawIssuer) && slices.ContainsFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(c.SerialNumber) == 0
		})
	})
}

// distrusts reports whether Distrust named a certificate or its key.
func (f *Federation) distrusts(c *x509.Certificate) bool {
	named := f.distrustedDigests()
	return slices.Contains(named, sha256.Sum256(c.Raw)) || slices.Contains(named, sha256.Sum256(c.RawSubjectPublicKeyInfo))
}
