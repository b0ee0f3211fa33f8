package stepca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// wrap puts the package's prefix on an error that leaves it.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stepca: %w", err)
}

// fail is wrap for a provider: it names the role and what was being done, and carries the CA's wish for a pause.
func fail(role fault.Role, op string, err error) error {
	if err == nil {
		return nil
	}
	pe := &fault.ProviderError{Role: role, Op: op, Err: wrap(err)}
	var status *statusError
	if errors.As(err, &status) {
		pe.RetryAfter = status.retryAfter
	}
	return pe
}

// A statusError is an answer of the CA that is not a success.
type statusError struct {
	path       string // the endpoint; never a query, never a token
	code       int
	message    string // the CA's own words; "" if it gave none that parse
	retryAfter time.Duration
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("the CA answered %d %s to %s", e.code, http.StatusText(e.code), e.path)
	if e.message != "" {
		s += ": " + e.message
	}
	return s
}

// Is gives the sentinel that the status means where nothing more is known.
func (e *statusError) Is(target error) bool {
	switch {
	case e.code == http.StatusUnauthorized, e.code == http.StatusForbidden:
		return target == fault.ErrPermission
	case e.code == http.StatusTooManyRequests, e.code >= 500:
		return target == fault.ErrUnavailable
	default:
		return target == fault.ErrMaterial
	}
}

// An alertError is that the CA refused our certificate in the handshake: it does so where it knows no root of it, or takes it
// for expired.
type alertError struct{ error }

// Is makes it a refusal.
func (*alertError) Is(target error) bool { return target == fault.ErrPermission }

func (e *alertError) Unwrap() error { return e.error }

// alerted marks an error that is a TLS alert about our certificate.
func alerted(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && op.Err != nil {
		for _, about := range []string{"certificate", "access denied"} {
			if strings.Contains(op.Err.Error(), about) {
				return &alertError{fmt.Errorf("the CA does not take the certificate: %w", err)}
			}
		}
	}
	return err
}

// refused reports whether the CA considered the request and said no, as opposed to being out of order.
func refused(err error) bool {
	var s *statusError
	var a *alertError
	if errors.As(err, &a) {
		return true
	}
	return errors.As(err, &s) && s.code >= 400 && s.code < 500 && s.code != http.StatusTooManyRequests && s.code != http.StatusRequestTimeout
}

// exchange gives an error of an exchange with the CA its meaning and its cure.
func (c *Client) exchange(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer from %s: %w", fault.ErrUnavailable, c.url.Host, err)
	}
	var (
		status  *statusError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
		record  tls.RecordHeaderError
		dns     *net.DNSError
		syntax  *json.SyntaxError
		typ     *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &status):
		return err
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: the certificate of %s does not chain to the roots that we trust; if the CA has a new root, "+
			"compare it out of band and configure its Fingerprint: %w", fault.ErrMaterial, c.url.Host, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: the certificate of %s is not valid at our time, %s; compare the clocks, or renew it: %w",
			fault.ErrMaterial, c.url.Host, c.now().UTC().Format(time.RFC3339), err)
	case errors.As(err, &name):
		return fmt.Errorf("%w: the certificate of %s is for another name; use a name of the CA (`dnsNames` in its ca.json) in URL: %w",
			fault.ErrConfig, c.url.Host, err)
	case errors.As(err, &record):
		return fmt.Errorf("%w: %s does not speak TLS; check the port in URL: %w", fault.ErrConfig, c.url.Host, err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("%w: the host of URL, %s, does not resolve; check it, and the resolver: %w",
			fault.ErrUnavailable, c.url.Host, err)
	case fromPackage(err):
		return err
	case errors.As(err, &syntax), errors.As(err, &typ):
		return fmt.Errorf("%w: %s does not answer like a step-ca: %w", fault.ErrMaterial, c.url.Host, err)
	default:
		return fmt.Errorf("%w: no answer from %s: %w", fault.ErrUnavailable, c.url.Host, err)
	}
}

// fromPackage reports whether err has a meaning already.
func fromPackage(err error) bool {
	for _, s := range []error{
		fault.ErrNotFound, fault.ErrUnavailable, fault.ErrPermission, fault.ErrExpired, fault.ErrConfig,
		fault.ErrMaterial, fault.ErrUnsupported, fault.ErrClosed,
	} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// clockHint says how far the clocks of the CA and of this node are apart, where that may explain a refusal.
func (c *Client) clockHint() string {
	skew := time.Duration(c.skew.Load()).Round(time.Second)
	switch {
	case skew > time.Minute:
		return fmt.Sprintf("the CA's clock is %v ahead of ours", skew)
	case skew < -time.Minute:
		return fmt.Sprintf("the CA's clock is %v behind ours", -skew)
	}
	return ""
}

// list joins what is not empty.
func list(parts ...string) string {
	var some []string
	for _, p := range parts {
		if p != "" {
			some = append(some, p)
		}
	}
	return strings.Join(some, "; ")
}
