package stepca

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/smallstep/certificates/authority/provisioner"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// An X5C enrols through an X5C provisioner: a certificate that the node has already vouches for the new one. The certificate
// must allow client authentication and chain to the roots of the provisioner; the new one does not outlive it.
//
// With From an Identity of the same CA, a node that has a TLS certificate gets one for its signing key without a password.
type X5C struct {
	// Provisioner is its name at the CA. Required.
	Provisioner string
	// From gives the certificate, such as (*Client).Identity or any other provider. Required.
	From sdk.IdentityProvider
}

func (x X5C) repeatable() bool { return true }

func (x X5C) validate(names []string) error {
	var errs []error
	if x.Provisioner == "" {
		errs = append(errs, &fault.ConfigError{Field: "Enrolment.(X5C).Provisioner", Err: errors.New("is empty; `step ca provisioner list` names them")})
	}
	if x.From == nil {
		errs = append(errs, &fault.ConfigError{Field: "Enrolment.(X5C).From", Err: errors.New("is nil; give the provider of the certificate that vouches")})
	} else if v, ok := x.From.(sdk.Validator); ok {
		errs = append(errs, v.Validate())
	}
	if len(names) == 0 {
		errs = append(errs, &fault.ConfigError{Field: "Names", Err: errors.New("is empty; an X5C provisioner signs for names that the token says")})
	}
	return errors.Join(errs...)
}

func (x X5C) enrol(ctx context.Context, c *Client, r request) ([]*x509.Certificate, error) {
	key, chain, err := x.voucher(ctx)
	if err != nil {
		return nil, fmt.Errorf("the certificate that vouches: %w", err)
	}
	if _, err := c.contact(ctx); err != nil {
		return nil, err
	}
	if now := c.now(); now.After(chain[0].NotAfter) {
		return nil, fmt.Errorf("%w: the certificate that vouches ended at %s", fault.ErrExpired, chain[0].NotAfter.UTC().Format(time.RFC3339))
	}
	csr, err := certificateRequest(r)
	if err != nil {
		return nil, err
	}
	token, err := c.mint(ctx, mintage{
		issuer: x.Provisioner, key: key, header: joseHeader{X5C: x5cOf(chain)}, fragment: "x5c/" + x.Provisioner,
	}, r, csr)
	if err != nil {
		return nil, err
	}
	issued, err := c.signCSR(ctx, csr, token, r.lifetime)
	if refused(err) {
		why := "the certificate does not chain to the provisioner's roots or allows no client authentication, or policy refuses the names, " +
			"or a lifetime beyond the certificate's"
		if _, known := c.provisioner(ctx, provisioner.TypeX5C, x.Provisioner); !known {
			why = "the CA has no X5C provisioner of that name (any more)"
		}
		err = fmt.Errorf("the CA does not let the certificate of %q vouch for %q through the provisioner %q (%s): %w",
			chain[0].Subject.CommonName, r.names, x.Provisioner, list(why, c.clockHint()), err)
	}
	return issued, err
}

// voucher gives the certificate that vouches, with its key.
func (x X5C) voucher(ctx context.Context) (crypto.Signer, []*x509.Certificate, error) {
	if own, ok := x.From.(*Identity); ok {
		if err := own.Validate(); err != nil {
			return nil, nil, err
		}
		h, err := own.flow.lend(ctx)
		if err != nil {
			return nil, nil, err
		}
		return h.key, h.chain, nil
	}
	id, err := x.From.Identity(ctx)
	if err != nil {
		return nil, nil, err
	}
	if id == nil || id.Certificate == nil {
		return nil, nil, fmt.Errorf("%w: there is none", fault.ErrMaterial)
	}
	key, ok := id.Certificate.PrivateKey.(crypto.Signer)
	if !ok || len(id.Certificate.Certificate) == 0 {
		return nil, nil, fmt.Errorf("%w: it has no chain, or its key does not sign", fault.ErrMaterial)
	}
	var chain []*x509.Certificate
	for _, der := range id.Certificate.Certificate {
		crt, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", fault.ErrMaterial, err)
		}
		chain = append(chain, crt)
	}
	return key, chain, nil
}

// x5cOf writes a chain as JOSE does (RFC 7515 §4.1.6).
func x5cOf(chain []*x509.Certificate) []string {
	out := make([]string, len(chain))
	for i, c := range chain {
		out[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	return out
}
