package plugin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// What a plugin may return, beyond Limits.Message for the whole.
const (
	maxCertificate = 64 << 10 // octets
	maxRoots       = 10000
	maxCRLs        = 1000
	maxNamed       = 32 // roots with the name of a revocation list's issuer
	maxChain       = 10
	maxPublished   = 1000
)

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", fault.ErrMaterial, fmt.Errorf(format, args...))
}

// checkTrust makes a bundle of an answer, within ctx.
func checkTrust(ctx context.Context, r *pluginpb.TrustBundleResponse) (*sdk.TrustBundle, error) {
	switch {
	case len(r.Roots) == 0:
		return nil, unusable("the bundle has no root; a bundle without roots trusts nobody")
	case len(r.Roots) > maxRoots:
		return nil, unusable("the bundle has %d roots, at most %d are taken", len(r.Roots), maxRoots)
	case len(r.Crls) > maxCRLs:
		return nil, unusable("the bundle has %d revocation lists, at most %d are taken", len(r.Crls), maxCRLs)
	}
	b := &sdk.TrustBundle{RefreshAfter: fromMillis(r.RefreshAfterMs)}
	seen := map[string]bool{}
	named := map[string][]*x509.Certificate{} // by subject
	for i, der := range r.Roots {
		c, err := certificate(der)
		if err != nil {
			return nil, unusable("root %d: %w", i, err)
		}
		if !seen[string(der)] {
			seen[string(der)] = true
			b.Roots = append(b.Roots, c)
			named[string(c.RawSubject)] = append(named[string(c.RawSubject)], c)
		}
	}
	for i, der := range r.Crls {
		if err := ctx.Err(); err != nil { // signatures take time
			return nil, err
		}
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, unusable("revocation list %d: %w", i, err)
		}
		if err := checkIssuer(l, named[string(l.RawIssuer)]); err != nil {
			return nil, unusable("revocation list %d: %w", i, err)
		}
		b.CRLs = append(b.CRLs, l)
	}
	return b, nil
}

// checkIssuer checks that a revocation list is signed by one of the roots that have the name and the key identifier that
// it names, if there are any.
func checkIssuer(l *x509.RevocationList, named []*x509.Certificate) (err error) {
	if len(named) > maxNamed {
		return fmt.Errorf("%d roots have the name of its issuer, at most %d are taken", len(named), maxNamed)
	}
	for _, root := range named {
		if !bytes.Equal(root.SubjectKeyId, l.AuthorityKeyId) {
			continue
		}
		if err = l.CheckSignatureFrom(root); err == nil {
			return nil
		}
		err = fmt.Errorf("it is not signed by %q, which it names: %w", root.Subject, err)
	}
	return err
}

func certificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("a certificate of %d octets, at most %d are taken", len(der), maxCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// A longer key takes seconds for each signature.
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > 8*maxSignature {
		return nil, fmt.Errorf("an RSA key of %d bits, at most %d are taken", k.N.BitLen(), 8*maxSignature)
	}
	return c, nil
}

// checkedIdentity is a chain that has been checked, without a key yet.
type checkedIdentity struct {
	chain   [][]byte
	leaf    *x509.Certificate
	print   []byte
	schemes []tls.SignatureScheme
	refresh time.Duration
}

// checkIdentity checks everything of an identity but the possession of the key.
func checkIdentity(r *pluginpb.IdentityResponse, now time.Time) (*checkedIdentity, error) {
	if n := len(r.Chain); n == 0 || n > maxChain {
		return nil, unusable("a chain of %d certificates, want 1 to %d, leaf first", n, maxChain)
	}
	var chain []*x509.Certificate
	for i, der := range r.Chain {
		c, err := certificate(der)
		if err != nil {
			return nil, unusable("certificate %d of the chain: %w", i, err)
		}
		if i > 0 {
			if err := chain[i-1].CheckSignatureFrom(c); err != nil {
				return nil, unusable("certificate %d of the chain (%q) is not signed by the next (%q); send leaf first, then each issuer: %w",
					i-1, chain[i-1].Subject, c.Subject, err)
			}
		}
		chain = append(chain, c)
	}
	leaf := chain[0]
	switch {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("%w: %w: the leaf ended at %v", fault.ErrMaterial, fault.ErrExpired, leaf.NotAfter)
	case now.Add(5 * time.Minute).Before(leaf.NotBefore):
		return nil, unusable("the leaf is valid from %v only", leaf.NotBefore)
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, unusable("the leaf's key usage does not allow digitalSignature, which TLS 1.3 needs (RFC 8446, section 4.4.2.2)")
	case !authenticates(leaf):
		return nil, unusable("the leaf's extended key usage allows neither clientAuth nor serverAuth")
	}
	print, err := fingerprint(leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(r.Fingerprint, print) {
		return nil, unusable("the chain does not match its key: the leaf's key is %x, the answer names %x", print, clip(r.Fingerprint))
	}
	schemes, err := checkSchemes(leaf, r.SignatureSchemes)
	if err != nil {
		return nil, err
	}
	return &checkedIdentity{
		chain: r.Chain, leaf: leaf, print: print, schemes: schemes, refresh: fromMillis(r.RefreshAfterMs),
	}, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 32)] }

func authenticates(leaf *x509.Certificate) bool {
	if len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.ContainsFunc(leaf.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageAny || u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageServerAuth
	})
}

// checkSchemes keeps the declared schemes that the leaf's key can do.
func checkSchemes(leaf *x509.Certificate, declared []uint32) ([]tls.SignatureScheme, error) {
	switch k := leaf.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return nil, unusable("the leaf's key is on P-224, which TLS does not have")
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8*maxSignature {
			return nil, unusable("the leaf's key is RSA with %d bits, want 2048 to %d", bits, 8*maxSignature)
		}
	default:
		return nil, unusable("the leaf's key is %T, want Ed25519, ECDSA or RSA", leaf.PublicKey)
	}
	able := schemesOf(leaf.PublicKey)
	var out []tls.SignatureScheme
	for _, d := range declared {
		s := tls.SignatureScheme(d)
		if uint32(s) == d && slices.Contains(able, s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, unusable("of the declared signature schemes %v the leaf's key can do none; it can do %v",
			declared[:min(len(declared), 16)], able)
	}
	return out, nil
}

// checkKeys checks the keys of an answer, without the possession of the active one.
func checkKeys(r *pluginpb.SigningKeysResponse) (active ed25519.PublicKey, published []ed25519.PublicKey, err error) {
	if len(r.Published) > maxPublished {
		return nil, nil, unusable("%d published keys, at most %d are taken", len(r.Published), maxPublished)
	}
	if len(r.Active) != ed25519.PublicKeySize {
		return nil, nil, unusable("the active key has %d octets, want an Ed25519 public key of %d", len(r.Active), ed25519.PublicKeySize)
	}
	for i, k := range r.Published {
		if len(k) != ed25519.PublicKeySize {
			return nil, nil, unusable("published key %d has %d octets, want an Ed25519 public key of %d", i, len(k), ed25519.PublicKeySize)
		}
		published = append(published, ed25519.PublicKey(k))
	}
	return r.Active, published, nil
}

// checkKeyChains checks the certificates that come with the keys of an answer. Whether they are signed by anybody is for
// those to judge to whom the keys are published.
func checkKeyChains(r *pluginpb.SigningKeysResponse, active ed25519.PublicKey, published []ed25519.PublicKey) ([][]*x509.Certificate, error) {
	if len(r.Chains) > maxPublished+1 {
		return nil, unusable("%d certificate chains for keys, at most %d are taken", len(r.Chains), maxPublished+1)
	}
	var chains [][]*x509.Certificate
	for i, kc := range r.Chains {
		if n := len(kc.GetCertificates()); n == 0 || n > maxChain {
			return nil, unusable("the chain %d of a key has %d certificates, want 1 to %d", i, n, maxChain)
		}
		var chain []*x509.Certificate
		for _, der := range kc.Certificates {
			cert, err := certificate(der)
			if err != nil {
				return nil, unusable("a certificate in the chain %d of a key: %w", i, err)
			}
			chain = append(chain, cert)
		}
		pub, ok := chain[0].PublicKey.(ed25519.PublicKey)
		if !ok || !pub.Equal(active) && !slices.ContainsFunc(published, func(p ed25519.PublicKey) bool { return pub.Equal(p) }) {
			return nil, unusable("the chain %d is for none of the keys", i)
		}
		chains = append(chains, chain)
	}
	return chains, nil
}
