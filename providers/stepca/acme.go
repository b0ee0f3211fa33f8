package stepca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/alphaonedev/federation/internal/fault"
)

// acmeTimeout bounds one enrolment: the CA looks at the challenge several times.
const acmeTimeout = 2 * time.Minute

// An ACME enrols through the CA's ACME provisioner (RFC 8555), which needs the CA to have a database: the node proves that
// it controls its names, which are DNS names and IP addresses. Renewal is over mutual TLS as for every other Enrolment.
type ACME struct {
	// Provisioner is its name at the CA; default "acme".
	Provisioner string
	// Solver answers the challenges. Required: HTTP01, TLSALPN01, DNS01 or one's own.
	Solver Solver
	// Contact are URLs for the account: "mailto:ops@example".
	Contact []string
	// AccountKey is the key of the account: ECDSA or RSA. Nil: an account is made for each enrolment. Required with
	// KeyID.
	AccountKey crypto.Signer
	// KeyID and MACKey bind the account to one that the CA knows (RFC 8555 §7.3.4), for provisioners that require it.
	KeyID  string
	MACKey []byte
}

func (a ACME) repeatable() bool { return true }

// Format prints a placeholder: the value holds keys.
func (a ACME) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "stepca.ACME{"+a.provisioner()+"}")
}

func (a ACME) provisioner() string {
	if a.Provisioner == "" {
		return "acme"
	}
	return a.Provisioner
}

func (a ACME) validate(names []string) error {
	var errs []error
	bad := func(field, what string) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: errors.New(what)})
	}
	if a.Solver == nil {
		bad("Enrolment.(ACME).Solver", "is nil; use HTTP01, TLSALPN01, DNS01 or one of your own")
	}
	if (a.KeyID == "") != (len(a.MACKey) == 0) {
		bad("Enrolment.(ACME).MACKey", "is set without KeyID, or KeyID without it; an external account needs both")
	}
	if a.KeyID != "" && a.AccountKey == nil {
		bad("Enrolment.(ACME).AccountKey", "is nil; an external account is bound to one key: keep it")
	}
	if strings.ContainsAny(a.Provisioner, "/?#") {
		bad("Enrolment.(ACME).Provisioner", "holds one of / ? #")
	}
	s, _ := parseNames(names)
	if len(names) == 0 || len(s.mails)+len(s.uris) > 0 {
		bad("Names", "must be DNS names and IP addresses, one at least: ACME proves control of nothing else")
	}
	return errors.Join(errs...)
}

func (a ACME) enrol(ctx context.Context, c *Client, r request) ([]*x509.Certificate, error) {
	anchors, err := c.contact(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, acmeTimeout)
	defer cancel()
	t := c.transport(pool(anchors.roots), nil)
	defer t.CloseIdleConnections()
	chain, err := a.order(ctx, c, r, &http.Client{
		Transport:     guard{c: c, next: t, statuses: true},
		Timeout:       c.cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	return chain, a.explain(c, r, err)
}

func (a ACME) order(ctx context.Context, c *Client, r request, hc *http.Client) ([]*x509.Certificate, error) {
	account := a.AccountKey
	if account == nil {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		account = k
	}
	cl := &acme.Client{
		Key: account, HTTPClient: hc, DirectoryURL: c.url.JoinPath("acme", a.provisioner(), "directory").String(),
		UserAgent: "federation-stepca/1",
		RetryBackoff: func(n int, _ *http.Request, resp *http.Response) time.Duration {
			if n > 3 || resp.StatusCode >= 500 { // what calls us has a backoff of its own
				return -1
			}
			return time.Duration(n) * 100 * time.Millisecond
		},
	}
	acct := &acme.Account{Contact: a.Contact}
	if a.KeyID != "" {
		acct.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: a.KeyID, Key: a.MACKey}
	}
	if _, err := cl.Register(ctx, acct, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("the account: %w", err)
	}
	var ids []acme.AuthzID
	for _, n := range r.names {
		if ip := net.ParseIP(n); ip != nil {
			ids = append(ids, acme.IPIDs(ip.String())...)
		} else {
			ids = append(ids, acme.DomainIDs(strings.ToLower(n))...)
		}
	}
	var opts []acme.OrderOption
	if r.lifetime > 0 {
		opts = append(opts, acme.WithOrderNotAfter(c.now().Add(r.lifetime)))
	}
	order, err := cl.AuthorizeOrder(ctx, ids, opts...)
	if err != nil {
		return nil, fmt.Errorf("the order: %w", err)
	}
	for _, u := range order.AuthzURLs {
		if err := a.authorize(ctx, cl, u); err != nil {
			return nil, err
		}
	}
	if order.URI != "" {
		if order, err = cl.WaitOrder(ctx, order.URI); err != nil {
			return nil, fmt.Errorf("the order: %w", err)
		}
	}
	csr, err := certificateRequest(r)
	if err != nil {
		return nil, err
	}
	ders, _, err := cl.CreateOrderCert(ctx, order.FinalizeURL, csr.Raw, true)
	if err != nil {
		return nil, fmt.Errorf("the certificate: %w", err)
	}
	var chain []*x509.Certificate
	for _, der := range ders {
		crt, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: the certificate does not parse: %w", fault.ErrMaterial, err)
		}
		chain = append(chain, crt)
	}
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("%w: the CA answered a chain of %d certificates", fault.ErrMaterial, len(chain))
	}
	return chain, nil
}

// authorize proves control of one name.
func (a ACME) authorize(ctx context.Context, cl *acme.Client, url string) error {
	z, err := cl.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("the authorization: %w", err)
	}
	if z.Status == acme.StatusValid {
		return nil
	}
	i := slices.IndexFunc(z.Challenges, func(ch *acme.Challenge) bool { return ch.Type == a.Solver.Type() })
	if i < 0 {
		var offered []string
		for _, ch := range z.Challenges {
			offered = append(offered, ch.Type)
		}
		return fmt.Errorf("%w: the CA offers the challenges %q for %s, the Solver answers %s; use another, or allow it at the provisioner",
			fault.ErrPermission, offered, z.Identifier.Value, a.Solver.Type())
	}
	ch := z.Challenges[i]
	want := Challenge{Name: z.Identifier.Value, Path: cl.HTTP01ChallengePath(ch.Token)}
	if want.Content, err = cl.HTTP01ChallengeResponse(ch.Token); err != nil {
		return err
	}
	if want.Record, err = cl.DNS01ChallengeRecord(ch.Token); err != nil {
		return err
	}
	if a.Solver.Type() == "tls-alpn-01" {
		crt, err := cl.TLSALPN01ChallengeCert(ch.Token, z.Identifier.Value)
		if err != nil {
			return err
		}
		want.TLS = &crt
	}
	remove, err := a.Solver.Solve(ctx, want)
	if err != nil {
		return fmt.Errorf("answering the challenge for %s: %w", want.Name, err)
	}
	defer remove()
	if _, err := cl.Accept(ctx, ch); err != nil {
		return fmt.Errorf("the challenge for %s: %w", want.Name, err)
	}
	if _, err := cl.WaitAuthorization(ctx, url); err != nil {
		return fmt.Errorf("the challenge for %s: %w", want.Name, err)
	}
	return nil
}

// explain gives an ACME error its meaning and its cure.
func (a ACME) explain(c *Client, r request, err error) error {
	var problem *acme.Error
	var authz *acme.AuthorizationError
	var order *acme.OrderError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &authz):
		return fmt.Errorf("%w: the CA could not see the answer to its %s challenge for %s; the CA must reach the node there: %w",
			fault.ErrPermission, a.Solver.Type(), authz.Identifier, err)
	case errors.As(err, &order):
		return fmt.Errorf("%w: the CA gave up the order for %q: %w", fault.ErrPermission, r.names, err)
	case errors.As(err, &problem) && problem.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: the CA at %s has no ACME provisioner %q (any more), or no database: %w", fault.ErrPermission, c.url.Host, a.provisioner(), err)
	case errors.As(err, &problem) && problem.StatusCode < 500 && problem.StatusCode != http.StatusTooManyRequests:
		return fmt.Errorf("%w: the CA does not let the ACME provisioner %q have a certificate for %q (%s): %w", fault.ErrPermission,
			a.provisioner(), r.names, list("it may require an external account, or policy refuses the names", c.clockHint()), err)
	case fromPackage(err):
		return err
	}
	return c.exchange(err)
}
