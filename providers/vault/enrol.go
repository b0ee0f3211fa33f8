package vault

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// identityState is what an Identity remembers. Identity.turn guards it.
type identityState struct {
	cert     *tls.Certificate
	due      time.Time // when to renew
	replaced []replacedCert
}

func (i *Identity) pull(ctx context.Context) (*sdk.Identity, error) {
	if err := i.Validate(); err != nil {
		return nil, errors.Unwrap(err)
	}
	select {
	case i.turn <- struct{}{}:
		defer func() { <-i.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := time.Now().Round(0) // the wall clock: the other one stands still while a machine sleeps
	if s := &i.state; s.cert == nil || !now.Before(s.due) || !now.Before(s.cert.Leaf.NotAfter) {
		cert, err := i.enrol(ctx)
		if err != nil {
			return nil, err
		}
		now = time.Now().Round(0)
		if s.cert != nil && i.opts.RevokeAfter > 0 {
			s.replaced = append(s.replaced, replacedCert{s.cert.Leaf, now.Add(i.opts.RevokeAfter)})
		}
		life := cert.Leaf.NotAfter.Sub(now)
		s.cert, s.due = cert, now.Add(life*2/3-mathrand.N(life/12+1))
		i.client.cfg.Logger.Info("certificate issued", "serial", serialOf(cert.Leaf), "not_after", cert.Leaf.NotAfter)
	} else if _, err := i.client.auth.session(ctx); err != nil { // keeps the token alive between renewals
		i.client.cfg.Logger.Warn("vault cannot be logged in to; the certificate stays in use", "error", err)
	}
	wait := max(i.state.due.Sub(now), time.Second)
	if next := i.revokeReplaced(ctx, now); next > 0 {
		wait = min(wait, next)
	}
	return &sdk.Identity{Certificate: i.state.cert, RefreshAfter: i.client.refresh(wait)}, nil
}

// enrol makes a key and asks for a certificate.
func (i *Identity) enrol(ctx context.Context) (*tls.Certificate, error) {
	o := i.opts
	key := o.Key
	if key == nil {
		var err error
		if key, err = makeKey(o.KeyType); err != nil {
			return nil, err
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, i.request(), key)
	if err != nil {
		return nil, &callError{op: "make a signing request", msg: err.Error(), kind: fault.ErrConfig}
	}
	body := map[string]any{
		"csr":                  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
		"common_name":          o.commonName(),
		"alt_names":            strings.Join(o.DNS, ","),
		"ip_sans":              joinIPs(o),
		"uri_sans":             strings.Join(o.URIs, ","),
		"exclude_cn_from_sans": true, // what is wanted as a SAN is said as a SAN
		"format":               "pem",
	}
	if o.TTL > 0 {
		body["ttl"] = fmt.Sprintf("%ds", int64(o.TTL/time.Second))
	}
	where := join(o.Mount, "sign", o.Role)
	if o.Issuer != "" {
		where = join(o.Mount, "issuer", o.Issuer, "sign", o.Role)
	}
	var got signed
	sent := time.Now()
	err = i.client.data(ctx, call{what: "sign a certificate", namespace: i.client.namespaceOf(o.Namespace), path: where, body: body}, &got)
	if err != nil {
		return nil, explainMount(err, o.Mount)
	}
	chain, err := i.check(got, key.Public(), sent)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

func (i *Identity) request() *x509.CertificateRequest {
	r := &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: i.opts.commonName()},
		DNSNames:    i.opts.DNS,
		IPAddresses: i.opts.IPs,
	}
	for _, s := range i.opts.URIs {
		if u, err := url.Parse(s); err == nil {
			r.URIs = append(r.URIs, u)
		}
	}
	return r
}

func (o IdentityOptions) commonName() string {
	const longest = 64 // RFC 5280, ub-common-name
	if o.CommonName == "" && len(o.DNS) > 0 && len(o.DNS[0]) <= longest {
		return o.DNS[0]
	}
	return o.CommonName
}

func joinIPs(o IdentityOptions) string {
	var s []string
	for _, ip := range o.IPs {
		s = append(s, ip.String())
	}
	return strings.Join(s, ",")
}

func makeKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("key type %d is unknown: %w", t, fault.ErrConfig)
	}
}
