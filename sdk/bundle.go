package sdk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/rotate"
	"github.com/alphaonedev/federation/transport"
)

const defaultRefresh = 5 * time.Minute

// maxRoots bounds a bundle. The public web's roots are about 150.
const maxRoots = 4096

// A bundle is a TrustBundle as it is in service: checked, in a fixed order, and comparable.
type bundle struct {
	roots  []*x509.Certificate // sorted by their bytes, each once
	crls   []*x509.RevocationList
	digest [sha256.Size]byte // over roots and CRLs
	trust  *transport.Trust  // the same, as the transport wants it
	life   rotate.Life

	partial error // TrustBundle.Partial
}

// pullBundle asks the provider, and checks what every bundle must have whatever came before it.
func pullBundle(ctx context.Context, p TrustProvider) (*bundle, error) {
	tb, err := p.TrustBundle(ctx)
	if err != nil {
		return nil, err
	}
	return newBundle(tb, time.Now())
}

func newBundle(tb *TrustBundle, now time.Time) (*bundle, error) {
	switch {
	case tb == nil:
		return nil, fmt.Errorf("the provider returned no bundle and no error: %w", ErrMaterial)
	case len(tb.Roots) == 0:
		return nil, fmt.Errorf("the trust bundle is empty, so nobody could be trusted: %w; check the source of the roots", ErrMaterial)
	case len(tb.Roots) > maxRoots:
		return nil, fmt.Errorf("the trust bundle has %d roots, more than %d: %w", len(tb.Roots), maxRoots, ErrMaterial)
	case tb.RefreshAfter < 0:
		return nil, fmt.Errorf("the trust bundle is to be refreshed after %v: %w", tb.RefreshAfter, ErrMaterial)
	}
	b := &bundle{partial: tb.Partial}
	usable := 0
	for i, root := range tb.Roots {
		switch {
		case root == nil || len(root.Raw) == 0:
			return nil, fmt.Errorf("root %d of the trust bundle is no parsed certificate: %w", i, ErrMaterial)
		case root.BasicConstraintsValid && !root.IsCA:
			return nil, fmt.Errorf("root %d of the trust bundle, %q, is not a CA: %w; trust the certificate that signed it", i, root.Subject, ErrMaterial)
		}
		if !now.After(root.NotAfter) {
			usable++
			if b.life.Expires.Before(root.NotAfter) {
				b.life.Expires = root.NotAfter
			}
		}
		b.roots = append(b.roots, root)
	}
	if usable == 0 {
		return nil, fmt.Errorf("all %d roots of the trust bundle have expired: %w", len(tb.Roots), ErrExpired)
	}
	slices.SortFunc(b.roots, func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) })
	b.roots = slices.CompactFunc(b.roots, (*x509.Certificate).Equal)
	for i, crl := range tb.CRLs {
		if crl == nil || len(crl.Raw) == 0 {
			return nil, fmt.Errorf("revocation list %d of the trust bundle is no parsed list: %w", i, ErrMaterial)
		}
		b.crls = append(b.crls, crl)
	}
	slices.SortFunc(b.crls, func(x, y *x509.RevocationList) int { return bytes.Compare(x.Raw, y.Raw) })
	b.crls = slices.CompactFunc(b.crls, func(x, y *x509.RevocationList) bool { return bytes.Equal(x.Raw, y.Raw) })

	h := sha256.New()
	for _, r := range b.roots {
		sum := sha256.Sum256(r.Raw)
		h.Write(sum[:])
	}
	h.Write([]byte("crls"))
	for _, c := range b.crls {
		sum := sha256.Sum256(c.Raw)
		h.Write(sum[:])
	}
	h.Sum(b.digest[:0])
	b.trust = &transport.Trust{Roots: b.roots, CRLs: b.crls}
	b.life.Refresh = now.Add(cmpOr(tb.RefreshAfter, defaultRefresh))
	return b, nil
}

func sameBundle(a, b *bundle) bool { return a.digest == b.digest }

// disjoint reports whether no root of old is left in b.
func (b *bundle) disjoint(old *bundle) bool {
	return !slices.ContainsFunc(old.roots, b.has)
}

// removes reports whether a root of old is missing from b.
func (b *bundle) removes(old *bundle) bool {
	return slices.ContainsFunc(old.roots, func(c *x509.Certificate) bool { return !b.has(c) })
}

func (b *bundle) has(c *x509.Certificate) bool {
	_, found := slices.BinarySearchFunc(b.roots, c, func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) })
	return found
}

func cmpOr(d, other time.Duration) time.Duration {
	if d == 0 {
		return other
	}
	return d
}
