package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/fault"
)

var errClosed = fmt.Errorf("client is closed: %w", fault.ErrClosed)

// A callError is what a request to Vault came to: a message without secrets, and what the caller decides by.
type callError struct {
	op         string // "sign with transit/sign/node-a"
	msg        string
	status     int   // 0: no answer
	anonymous  bool  // the request carried no token
	kind       error // a sentinel of package fault
	cause      error // never printed; for errors.Is
	retryAfter time.Duration
}

func (e *callError) Error() string {
	return fmt.Sprintf("%s: %s: %v", e.op, e.msg, e.kind)
}

func (e *callError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// prefix names the package, once.
func prefix(err error) error { return fmt.Errorf("vault: %w", err) }

// roleError is what the providers return: who failed, at what, and when Vault wants to be asked again.
func roleError(role fault.Role, op string, err error) error {
	pe := &fault.ProviderError{Role: role, Op: op, Err: prefix(err)}
	if ce, ok := errors.AsType[*callError](err); ok {
		pe.RetryAfter = ce.retryAfter
	}
	return pe
}

// classify turns an error of the official client into a callError. secrets are cut out of what Vault, or
// something in front of it, answered.
func classify(op string, err error, after time.Duration, secrets ...string) *callError {
	e := &callError{op: op, retryAfter: after}
	if re, ok := errors.AsType[*api.ResponseError](err); ok {
		e.status = re.StatusCode
		e.msg = fmt.Sprintf("status %d: %s%s", re.StatusCode, scrub(strings.Join(re.Errors, "; "), secrets), cure(re))
		e.kind = kindOf(re)
		return e
	}
	e.kind, e.cause = fault.ErrUnavailable, safeCause(err)
	e.msg = scrub(plain(err), secrets)
	if wrongForEver(err) {
		e.kind = fault.ErrConfig
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, errTooLarge) {
		e.kind = fault.ErrMaterial
	}
	for _, s := range []error{fault.ErrConfig, fault.ErrPermission, fault.ErrMaterial, fault.ErrExpired, fault.ErrNotFound} {
		if errors.Is(err, s) { // an Auth method's own verdict
			e.kind = s
		}
	}
	return e
}

// noMount reports whether no mount serves the path.
func (e *callError) noMount() bool {
	return e.status == http.StatusNotFound && e.kind == fault.ErrConfig
}

// cure says what ends an outage that Vault itself does not explain.
func cure(re *api.ResponseError) string {
	switch re.StatusCode {
	case http.StatusServiceUnavailable:
		if strings.Contains(strings.Join(re.Errors, " "), "sealed") {
			return " (it serves again once somebody unseals it)"
		}
	case http.StatusTooManyRequests:
		return " (a quota of Vault's: see sys/quotas/rate-limit)"
	case 472, 473:
		return " (a standby answered that forwards nothing: Address must lead to the active node)"
	}
	return ""
}

// noSuchIssuer is in Vault's answer to an issuer that does not exist.
const noSuchIssuer = "unable to find PKI issuer for reference"

func kindOf(re *api.ResponseError) error {
	text := strings.Join(re.Errors, " ")
	switch re.StatusCode {
	case http.StatusBadRequest:
		return fault.ErrConfig
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return fault.ErrPermission
	case http.StatusNotFound:
		// Vault answers so for a path below no mount; a proxy that knows no route answers in HTML.
		if strings.Contains(text, "no handler for route") || strings.Contains(text, "unsupported path") ||
			strings.Contains(text, "namespace not found") || re.RawError {
			return fault.ErrConfig
		}
		return fault.ErrNotFound
	case http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return fault.ErrConfig
	case http.StatusInternalServerError:
		if strings.Contains(text, noSuchIssuer) {
			return fault.ErrConfig
		}
		return fault.ErrUnavailable
	default:
		// 412 and 472 to 474 are replication lag and standbys, 429 is a quota, 5xx an outage or a seal.
		return fault.ErrUnavailable
	}
}

// wrongForEver recognises connections that no retry can make: another CA or name than Vault's own, or
// TLS against plain HTTP.
func wrongForEver(err error) bool {
	var ca x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	return errors.As(err, &ca) || errors.As(err, &name) || errors.As(err, &record) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// safeCause keeps what callers may test for, and nothing whose text could hold a secret.
func safeCause(err error) error {
	for _, s := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			return s
		}
	}
	return nil
}

// plain is the message of a network error without the URL, which op already names.
func plain(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return err.Error()
}

// scrub makes a foreign message fit for a log: one line, at most 300 bytes, no secret.
func scrub(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) >= 4 {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	if s == "" {
		return "no explanation"
	}
	return s
}
