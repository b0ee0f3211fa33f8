package stepca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/authority/provisioner"

	"github.com/alphaonedev/federation/internal/fault"
)

// A OneTimeToken enrols with a token that somebody minted for this node: `step ca token a.example`. It is valid for a few
// minutes and for one certificate; renewal needs none. However it is printed or logged, it shows as "[token]"; only in a
// field that is not exported fmt prints the value, for it calls no methods there.
type OneTimeToken string

const hidden = "[token]"

// String returns a placeholder.
func (OneTimeToken) String() string { return hidden }

// GoString returns a placeholder.
func (OneTimeToken) GoString() string { return hidden }

// Format prints a placeholder whatever the verb.
func (OneTimeToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue makes log/slog print a placeholder.
func (OneTimeToken) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText makes encoders write a placeholder.
func (OneTimeToken) MarshalText() ([]byte, error) { return []byte(hidden), nil }

func (t OneTimeToken) repeatable() bool { return false }

func (t OneTimeToken) validate([]string) error {
	if t == "" {
		return &fault.ConfigError{Field: "Enrolment", Err: errors.New("the OneTimeToken is empty; `step ca token NAME` mints one")}
	}
	if _, err := readClaims(string(t)); err != nil {
		return &fault.ConfigError{Field: "Enrolment", Err: fmt.Errorf("the OneTimeToken %w; `step ca token NAME` mints one", err)}
	}
	return nil
}

func (t OneTimeToken) enrol(ctx context.Context, c *Client, r request) ([]*x509.Certificate, error) {
	cl, err := readClaims(string(t))
	if err != nil {
		return nil, fmt.Errorf("%w: the OneTimeToken %w", fault.ErrConfig, err)
	}
	a, err := c.contact(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.checkToken(cl, a, r.names); err != nil {
		return nil, err
	}
	if len(r.names) == 0 {
		if r.names = cl.SANs; len(r.names) == 0 {
			r.names = []string{cl.Subject}
		}
	}
	r.subject = cl.Subject
	csr, err := certificateRequest(r)
	if err != nil {
		return nil, err
	}
	chain, err := c.signCSR(ctx, csr, string(t), r.lifetime)
	if refused(err) {
		why := "it was used before, or was minted before the CA was started"
		if _, known := c.provisioner(ctx, provisioner.TypeJWK, cl.Issuer); !known && cl.Issuer != "" {
			why = fmt.Sprintf("the CA has no JWK provisioner %.128q (any more)", cl.Issuer)
		}
		err = fmt.Errorf("the CA does not take the one-time token (%s): %w", list(
			why, "mint another with `step ca token`", c.clockHint(), audienceHint(c.url, cl)), err)
	}
	return chain, err
}

// checkTimes refuses a token that the CA would refuse without a reason: one that is over or not valid yet by its clock.
func (c *Client) checkTimes(cl claims, cure string) error {
	now := c.caNow()
	const leeway = time.Minute // the CA's own
	if cl.Expires != 0 && now.After(time.Unix(cl.Expires, 0).Add(leeway)) {
		return fmt.Errorf("%w: the token expired at %s (%s); %s", fault.ErrExpired,
			time.Unix(cl.Expires, 0).UTC().Format(time.RFC3339), list("by the CA's clock, as far as we know it", c.clockHint()), cure)
	}
	if cl.NotBef != 0 && now.Before(time.Unix(cl.NotBef, 0).Add(-leeway)) {
		return fmt.Errorf("%w: the token is valid from %s only (%s); compare the clocks of whoever minted it, of the CA and of this node",
			fault.ErrPermission, time.Unix(cl.NotBef, 0).UTC().Format(time.RFC3339), list("now is "+now.UTC().Format(time.RFC3339), c.clockHint()))
	}
	return nil
}

// checkToken tells apart, before the CA is asked, what it would refuse without a reason.
func (c *Client) checkToken(cl claims, a *anchors, names []string) error {
	if err := c.checkTimes(cl, "mint another with `step ca token`"); err != nil {
		return err
	}
	if cl.SHA != "" {
		known := []string{c.fingerprintHex()}
		for _, r := range a.roots {
			known = append(known, fingerprintOf(r))
		}
		if !slices.Contains(known, strings.ToLower(cl.SHA)) {
			return fmt.Errorf("%w: the token is for the CA with the root %.64s, this one has %s; mint the token at this CA",
				fault.ErrConfig, cl.SHA, strings.Join(known[1:], ", "))
		}
	}
	if len(names) > 0 {
		have := cl.SANs
		if len(have) == 0 {
			have = []string{cl.Subject}
		}
		if lost, more := missing(names, have), missing(have, names); len(lost)+len(more) > 0 {
			return fmt.Errorf("%w: the token is for %q and Names asks for %q; mint it for those, or leave Names "+
				"empty to take the token's", fault.ErrConfig, have, names)
		}
	}
	return nil
}

// audienceHint says that a token names a CA by another host than URL does. That is an alias, or another CA.
func audienceHint(u *url.URL, cl claims) string {
	for _, a := range cl.Audience {
		if au, err := url.Parse(a); err == nil && au.Hostname() == u.Hostname() {
			return ""
		}
	}
	if len(cl.Audience) == 0 {
		return ""
	}
	return fmt.Sprintf("the token is for %.128q", []string(cl.Audience))
}

// A TokenFunc enrols with a token that the function gets from wherever it likes: an OIDC login, a cloud's instance identity,
// a Kubernetes service account, a service that mints tokens. It is called once for each attempt and bounded by ctx. Its
// errors should wrap one of sdk's sentinels; one that wraps none means ErrUnavailable.
//
// Which names an OIDC or cloud provisioner allows is configured at the CA; leave Names empty to take what it gives.
type TokenFunc func(ctx context.Context, r TokenRequest) (string, error)

func (f TokenFunc) repeatable() bool { return true }

func (f TokenFunc) validate([]string) error {
	if f == nil {
		return &fault.ConfigError{Field: "Enrolment", Err: errors.New("the TokenFunc is nil; give the function that gets a token")}
	}
	return nil
}

func (f TokenFunc) enrol(ctx context.Context, c *Client, r request) ([]*x509.Certificate, error) {
	if _, err := c.contact(ctx); err != nil {
		return nil, err
	}
	csr, err := certificateRequest(r)
	if err != nil {
		return nil, err
	}
	token, err := f(ctx, TokenRequest{
		Subject: r.subject, Names: slices.Clone(r.names), Audience: c.audience("/1.0/sign"),
		Fingerprint: c.fingerprintHex(), CSR: slices.Clone(csr.Raw),
	})
	if err != nil {
		if !fromPackage(err) && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", fault.ErrUnavailable, err)
		}
		return nil, fmt.Errorf("getting a token: %w", err)
	}
	cl, err := readClaims(token)
	if err != nil {
		return nil, fmt.Errorf("%w: the token of the TokenFunc %w", fault.ErrMaterial, err)
	}
	if err := c.checkTimes(cl, "the TokenFunc must give one that is valid"); err != nil {
		return nil, err
	}
	chain, err := c.signCSR(ctx, csr, token, r.lifetime)
	if refused(err) {
		err = fmt.Errorf("the CA does not take the token of issuer %.128q for %.128q (%s): %w", cl.Issuer, []string(cl.Audience),
			list("no provisioner of the CA matches it, it was used before, or it allows other names", c.clockHint()), err)
	}
	return chain, err
}

// audience is what a token of the CA's own provisioners is for: the endpoint by the name in URL. The CA ignores the port.
func (c *Client) audience(path string) string { return c.url.JoinPath(path).String() }

// signCSR has the CA sign csr for whoever holds token.
func (c *Client) signCSR(ctx context.Context, csr *x509.CertificateRequest, token string, lifetime time.Duration) ([]*x509.Certificate, error) {
	req := &api.SignRequest{CsrPEM: api.NewCertificateRequest(csr), OTT: strings.TrimSpace(token)}
	if lifetime > 0 {
		req.NotAfter.SetDuration(lifetime)
	}
	var answer *api.SignResponse
	err := c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
		answer, err = a.ca.SignWithContext(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return chainOf(answer)
}
