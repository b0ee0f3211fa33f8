package sdk

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/alphaonedev/federation/internal/rotate"
)

// An identity is an Identity as it is in service: parsed, checked and with its chain in order.
type identity struct {
	cert *tls.Certificate
	life rotate.Life
}

func (i *identity) leaf() *x509.Certificate { return i.cert.Leaf }

// chain is the certificate with what came with it, leaf first.
func (i *identity) chain() []*x509.Certificate {
	var out []*x509.Certificate
	for _, der := range i.cert.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil { // newIdentity has parsed it before
			out = append(out, c)
		}
	}
	return out
}

// names are what the certificate calls this node, URIs first.
func (i *identity) names() []string {
	if i == nil {
		return nil
	}
	var names []string
	for _, u := range i.leaf().URIs {
		names = append(names, u.String())
	}
	names = append(names, i.leaf().DNSNames...)
	for _, ip := range i.leaf().IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// isCalled reports whether the certificate has a name, as it is there or in the form in which peers configure it.
func (i *identity) isCalled(name string) bool {
	names := i.names()
	return slices.Contains(names, name) || slices.ContainsFunc(names, func(n string) bool {
		normal, err := normalizeID(n)
		return err == nil && normal == name
	})
}

func pullIdentity(ctx context.Context, p IdentityProvider) (*identity, error) {
	id, err := p.Identity(ctx)
	if err != nil {
		return nil, err
	}
	return newIdentity(id, time.Now())
}

func newIdentity(id *Identity, now time.Time) (*identity, error) {
	switch {
	case id == nil || id.Certificate == nil || len(id.Certificate.Certificate) == 0:
		return nil, fmt.Errorf("the provider returned no certificate and no error: %w", ErrMaterial)
	case id.RefreshAfter < 0:
		return nil, fmt.Errorf("the identity is to be refreshed after %v: %w", id.RefreshAfter, ErrMaterial)
	}
	chain := make([]*x509.Certificate, 0, len(id.Certificate.Certificate))
	for i, der := range id.Certificate.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the identity's chain does not parse: %w: %w", i, err, ErrMaterial)
		}
		chain = append(chain, c)
	}
	key, ok := id.Certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the identity's private key is %T, which cannot sign: %w", id.Certificate.PrivateKey, ErrMaterial)
	}
	chain = inOrder(chain, key.Public())
	leaf := chain[0]
	if !isFor(leaf, key.Public()) {
		return nil, fmt.Errorf("the identity's private key is not that of its certificate %s: %w; give the pair that belongs together", called(leaf), ErrMaterial)
	}
	if now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("the identity's certificate %s ended at %s: %w; renew it", called(leaf), leaf.NotAfter.Format(time.RFC3339), ErrExpired)
	}
	if now.Before(leaf.NotBefore) {
		return nil, fmt.Errorf("the identity's certificate %s is valid only from %s: %w; wait, or check the clock", called(leaf), leaf.NotBefore.Format(time.RFC3339), ErrMaterial)
	}
	if !mayBe(leaf, x509.ExtKeyUsageClientAuth) {
		return nil, fmt.Errorf("the identity's certificate %s has extended key usages without clientAuth, so no peer accepts it: %w; issue it with clientAuth and serverAuth", called(leaf), ErrMaterial)
	}
	cert := *id.Certificate
	cert.Certificate = nil
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	cert.Leaf = leaf
	out := &identity{cert: &cert}
	out.life.Expires = leaf.NotAfter
	refresh := id.RefreshAfter
	if refresh == 0 {
		// Two thirds of the life, counted from its start, so that a restart does not put renewal off.
		refresh = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2).Sub(now)
	}
	out.life.Refresh = now.Add(refresh)
	return out, nil
}

// inOrder puts the certificate of the key first and what signed it after it, as far as it is there; some export chains the
// other way round. What belongs to none of them stays, at the end.
func inOrder(chain []*x509.Certificate, pub crypto.PublicKey) []*x509.Certificate {
	rest := slices.Clone(chain)
	out := make([]*x509.Certificate, 0, len(chain))
	next := slices.IndexFunc(rest, func(c *x509.Certificate) bool { return isFor(c, pub) })
	for next >= 0 {
		last := rest[next]
		out, rest = append(out, last), slices.Delete(rest, next, next+1)
		next = slices.IndexFunc(rest, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil
		})
	}
	return append(out, rest...)
}

// isFor reports whether a certificate is for the key.
func isFor(c *x509.Certificate, key crypto.PublicKey) bool {
	pub, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(key)
}

// called names a certificate in a message: by its subject, or else by a name that it has, or its serial number.
func called(c *x509.Certificate) string {
	if subject := c.Subject.String(); subject != "" {
		return strconv.Quote(subject)
	}
	if names := (&identity{cert: &tls.Certificate{Leaf: c}}).names(); len(names) > 0 {
		return strconv.Quote(names[0])
	}
	return fmt.Sprintf("with serial number %x", c.SerialNumber)
}

func mayBe(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// sameIdentity compares chains; the key is the leaf's.
func sameIdentity(a, b *identity) bool {
	return slices.EqualFunc(a.cert.Certificate, b.cert.Certificate, bytes.Equal)
}

// renewHandle puts the same certificate into service with what came with it this time: a key that lives elsewhere
// may be held by a new session, an OCSP response be newer. Connections stay as they are.
func (f *Federation) renewHandle(i *identity) {
	old := f.serving.Swap(i)
	if old != nil && sameKey(old.cert.PrivateKey, i.cert.PrivateKey) && bytes.Equal(old.cert.OCSPStaple, i.cert.OCSPStaple) {
		return
	}
	f.apply(RoleIdentity)
}

// sameKey reports whether two private keys of one public key are sure to sign alike.
func sameKey(a, b crypto.PrivateKey) bool {
	if inMemory(a) && inMemory(b) {
		return true // newIdentity has compared their public halves
	}
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

func inMemory(k crypto.PrivateKey) bool {
	switch k.(type) {
	case ed25519.PrivateKey, *ecdsa.PrivateKey, *rsa.PrivateKey:
		return true
	}
	return false
}
