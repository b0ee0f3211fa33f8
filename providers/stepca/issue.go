package stepca

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/authority/provisioner"

	"github.com/alphaonedev/federation/internal/fault"
)

// maxChain bounds a chain, leaf included.
const maxChain = 16

// chainOf takes the complete chain from an answer; a CA older than certChain gives two certificates.
func chainOf(answer *api.SignResponse) ([]*x509.Certificate, error) {
	certs := answer.CertChainPEM
	if len(certs) == 0 {
		certs = []api.Certificate{answer.ServerPEM, answer.CaPEM}
	}
	var chain []*x509.Certificate
	for _, c := range certs {
		if c.Certificate != nil {
			chain = append(chain, c.Certificate)
		}
	}
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("%w: the CA answered a chain of %d certificates", fault.ErrMaterial, len(chain))
	}
	return chain, nil
}

// checkChain holds what the CA issued, or what a state file holds, against what was asked for. usage is what the leaf is
// for. It returns the chain without certificates that are not part of it and without roots.
func (c *Client) checkChain(chain, roots []*x509.Certificate, pub crypto.PublicKey, names []string, usage ...x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	leaf := chain[0]
	if k, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("%w: the certificate is for another key", fault.ErrMaterial)
	}
	if leaf.IsCA {
		return nil, fmt.Errorf("%w: the certificate is that of a CA", fault.ErrMaterial)
	}
	if lost := missing(names, namesOf(leaf)); len(lost) > 0 {
		return nil, fmt.Errorf("%w: the certificate lacks the names %q, it has %q; see the template and the policy of the provisioner",
			fault.ErrMaterial, lost, namesOf(leaf))
	}
	// The time is taken from the leaf: whether it is due or over is decided elsewhere, with its own cure.
	at := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	verified, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool(roots), Intermediates: pool(chain[1:]), CurrentTime: at, KeyUsages: usage,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate does not chain to the roots of the CA at %s: %w", fault.ErrMaterial, c.url.Host, err)
	}
	best := slices.MinFunc(verified, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	return slices.Clone(best[:len(best)-1]), nil
}

// usableNow refuses a fresh certificate that is over, or not valid yet, by our clock.
func (c *Client) usableNow(leaf *x509.Certificate) error {
	now := c.now()
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w: the CA issued a certificate that ended at %s and our time is %s (%s); compare the clocks", fault.ErrExpired,
			leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), list("the certificate is new", c.clockHint()))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%w: the CA issued a certificate that is valid from %s and our time is %s (%s); compare the clocks", fault.ErrMaterial,
			leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), list("the certificate is new", c.clockHint()))
	}
	if hint := c.clockHint(); hint != "" {
		c.log.Warn("clocks differ: certificates will look older or younger than they are", "skew", hint)
	}
	return nil
}

// A held is a certificate with its key. It is immutable.
type held struct {
	key   crypto.Signer
	chain []*x509.Certificate
}

func (h *held) leaf() *x509.Certificate { return h.chain[0] }

func (h *held) tls() *tls.Certificate {
	cert := &tls.Certificate{PrivateKey: h.key, Leaf: h.chain[0]}
	for _, c := range h.chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}

// dueAt is two thirds of a certificate's life.
func dueAt(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

// freshDueAt is dueAt for a certificate that was issued just now. A CA backdates what it issues, so that little may be left
// of a short life: then it is due at half of that, or it would be renewed without end.
func freshDueAt(leaf *x509.Certificate, now time.Time) time.Time {
	due, half := dueAt(leaf), now.Add(leaf.NotAfter.Sub(now)/2)
	if due.Before(half) {
		return half
	}
	return due
}

// renew has the CA make h anew over mutual TLS: with its key, or with fresh where that is not nil.
func (c *Client) renew(ctx context.Context, h *held, fresh crypto.Signer) ([]*x509.Certificate, error) {
	var answer *api.SignResponse
	err := c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
		t := c.transport(pool(a.roots), h.tls())
		defer t.CloseIdleConnections()
		if fresh == nil {
			answer, err = a.ca.RenewWithContext(ctx, guard{c: c, next: t})
			return alerted(err)
		}
		csr, err := certificateRequest(request{subject: h.leaf().Subject.CommonName, names: namesOf(h.leaf()), key: fresh})
		if err != nil {
			return err
		}
		answer, err = a.ca.RekeyWithContext(ctx, &api.RekeyRequest{CsrPEM: api.NewCertificateRequest(csr)}, guard{c: c, next: t})
		return alerted(err)
	})
	var status *statusError
	if errors.As(err, &status) && refused(err) {
		err = fmt.Errorf("%s: %w", c.whyNotRenewed(ctx, h.leaf()), err)
	}
	if err != nil {
		return nil, err
	}
	return chainOf(answer)
}

// whyNotRenewed tells apart what the CA calls a lack of authorization.
func (c *Client) whyNotRenewed(ctx context.Context, leaf *x509.Certificate) string {
	by, ok := provisioner.GetProvisionerExtension(leaf)
	all, err := provisioner.List(nil), error(nil)
	if ok {
		all, err = c.provisioners(ctx)
	}
	if !ok || err != nil {
		return "the certificate was revoked, or its provisioner was removed or allows no renewal"
	}
	for _, p := range all {
		if p.GetType() != by.Type || p.GetName() != by.Name {
			continue
		}
		if claims := claimsOf(p); claims != nil && claims.DisableRenewal != nil && *claims.DisableRenewal {
			return fmt.Sprintf("its provisioner %q allows no renewal (`disableRenewal` in its claims)", by.Name)
		}
		return fmt.Sprintf("the certificate was revoked, its provisioner %q has another key by now, or the CA allows no renewal (`disableRenewal` in its claims)", by.Name)
	}
	return fmt.Sprintf("its provisioner %q was removed from the CA", by.Name)
}

func claimsOf(p provisioner.Interface) *provisioner.Claims {
	switch p := p.(type) {
	case *provisioner.JWK:
		return p.Claims
	case *provisioner.X5C:
		return p.Claims
	case *provisioner.OIDC:
		return p.Claims
	case *provisioner.ACME:
		return p.Claims
	}
	return nil
}

// renewExpired asks for h anew with a token that its key signs: mutual TLS needs a certificate that is valid. The CA does
// so where the provisioner has `allowRenewalAfterExpiry`.
func (c *Client) renewExpired(ctx context.Context, h *held) ([]*x509.Certificate, error) {
	cl, err := c.newClaims("step-ca-client/1.0", h.leaf().Subject.CommonName, c.audience("/renew"))
	if err != nil {
		return nil, err
	}
	token, err := sign(ctx, h.key, joseHeader{X5CInsecure: x5cOf(h.chain)}, cl)
	if err != nil {
		return nil, err
	}
	var answer *api.SignResponse
	err = c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
		answer, err = a.ca.RenewWithTokenAndContext(ctx, token)
		return err
	})
	if err != nil {
		return nil, err
	}
	return chainOf(answer)
}

func fingerprintOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
