package stepca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"github.com/smallstep/certificates/api"

	"github.com/alphaonedev/federation/internal/fault"
)

// fetchCRL gives the CA's revocation list, which an intermediate that chains to roots, or a root, has signed.
func (c *Client) fetchCRL(ctx context.Context, roots []*x509.Certificate) (*x509.RevocationList, error) {
	var der []byte
	err := c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
		der, err = c.get(ctx, guard{c: c, next: a.transport}, "/crl")
		return err
	})
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%w: /crl does not parse: %w", fault.ErrMaterial, err)
	}
	for _, r := range roots {
		if crl.CheckSignatureFrom(r) == nil {
			return crl, nil
		}
	}
	intermediates, err := c.fetchIntermediates(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range intermediates {
		if crl.CheckSignatureFrom(i) != nil {
			continue
		}
		_, err := i.Verify(x509.VerifyOptions{
			Roots: pool(roots), Intermediates: pool(intermediates), CurrentTime: c.now(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return crl, nil
		}
	}
	return nil, fmt.Errorf("%w: no root and no intermediate of the CA at %s has signed its CRL (issuer %q)",
		fault.ErrMaterial, c.url.Host, crl.Issuer)
}

// fetchIntermediates gives the certificates between the CA's roots and what it issues; none is no error.
func (c *Client) fetchIntermediates(ctx context.Context) ([]*x509.Certificate, error) {
	var raw []byte
	err := c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
		raw, err = c.get(ctx, guard{c: c, next: a.transport}, "/intermediates")
		return err
	})
	if err != nil {
		return nil, err
	}
	var answer api.IntermediatesResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("%w: /intermediates: %w", fault.ErrMaterial, err)
	}
	if len(answer.Certificates) == 0 {
		return nil, nil
	}
	return certificates(answer.Certificates)
}
