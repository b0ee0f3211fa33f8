package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// TrustOptions say which authorities of which mounts are trusted.
type TrustOptions struct {
	// Mounts are PKI mounts whose issuers are trusted. Default: "pki". Each keeps its last good answer, but
	// a pull succeeds only if all have answered at least once.
	Mounts []string
	// Namespace is where the mounts are. "": the client's; "root": the root namespace.
	Namespace string
	// Issuers, by name or id, are trusted alone, each as a root of its own even if another has signed it.
	// Empty: all issuers of the mount, of which those that another one of the same mount has signed are
	// trusted through that one. Name them where a mount holds a root that also vouches for strangers.
	Issuers []string
	// NoCRLs leaves the CRLs out: revocations in Vault then mean nothing to the federation.
	NoCRLs bool
	// RefreshAfter is how often Vault is asked for changes, of which it cannot tell by itself. Default
	// 5 minutes. It bounds how long a revocation takes to arrive.
	RefreshAfter time.Duration
}

// Trust is the trust bundle of one or more PKI mounts. It needs no login: Vault serves issuers and CRLs to
// anyone.
//
// One pull costs one request per mount for the list of issuers and one per issuer for its CRL; a certificate
// is fetched once. Where the mount passes If-Modified-Since on (docs/vault.md), an unchanged CRL costs no
// body. Issuers that have expired are left out.
type Trust struct {
	client *Client
	opts   TrustOptions

	turn   chan struct{} // capacity 1; held during a pull
	mounts map[string]*mountState

	failMu   sync.Mutex
	failures map[string]error
}

var (
	_ sdk.TrustProvider = (*Trust)(nil)
	_ sdk.Validator     = (*Trust)(nil)
)

// Trust makes a trust provider. Nothing is contacted before the first pull.
func (c *Client) Trust(o TrustOptions) *Trust {
	if len(o.Mounts) == 0 {
		o.Mounts = []string{"pki"}
	}
	if o.RefreshAfter <= 0 {
		o.RefreshAfter = defaultRefresh
	}
	return &Trust{client: c, opts: o, turn: make(chan struct{}, 1), mounts: map[string]*mountState{}}
}

// Validate checks the configuration, the client's included, without contacting Vault.
func (t *Trust) Validate() error {
	errs := []error{t.client.cfg.validate()}
	for i, m := range t.opts.Mounts {
		errs = append(errs, fieldError(fmt.Sprintf("Mounts[%d]", i), checkName(mountOr(m, ""), true)))
	}
	for i, name := range t.opts.Issuers {
		errs = append(errs, fieldError(fmt.Sprintf("Issuers[%d]", i), checkName(name, false)))
	}
	if err := errors.Join(errs...); err != nil {
		return prefix(err)
	}
	return nil
}

// TrustBundle returns the issuers and CRLs of today. With several mounts, one that does not answer keeps what
// it gave last, and is asked again within a minute; an error is returned when none answers, or when one has never
// answered. Failures tells which mount does not.
func (t *Trust) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	b, err := t.pull(ctx)
	if err != nil {
		return nil, roleError(fault.RoleTrust, "pull", err)
	}
	return b, nil
}

func (t *Trust) pull(ctx context.Context) (*sdk.TrustBundle, error) {
	if err := t.Validate(); err != nil {
		return nil, errors.Unwrap(err)
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var errs []error
	failures := map[string]error{}
	for _, m := range t.opts.Mounts {
		name := mountOr(m, "")
		next, err := t.pullMount(ctx, name, t.mounts[name])
		if err != nil {
			errs = append(errs, err)
			failures[name] = prefix(err)
			continue
		}
		t.mounts[name] = next
	}
	t.failMu.Lock()
	t.failures = failures
	t.failMu.Unlock()
	if err := errors.Join(errs...); err != nil {
		if len(errs) == len(t.opts.Mounts) || len(t.mounts) < len(t.opts.Mounts) {
			return nil, err
		}
		t.client.cfg.Logger.Warn("a PKI mount does not answer; its last roots stay", "error", err)
	}
	b := &sdk.TrustBundle{RefreshAfter: t.opts.RefreshAfter}
	if len(errs) > 0 {
		b.RefreshAfter = min(b.RefreshAfter, mountRetry)
		b.Partial = prefix(errors.Join(errs...))
	}
	now := time.Now()
	seen := map[string]bool{}
	for _, m := range t.opts.Mounts {
		state := t.mounts[mountOr(m, "")]
		for _, c := range state.anchors(len(t.opts.Issuers) > 0) {
			if now.Before(c.NotAfter) && !seen[string(c.Raw)] {
				seen[string(c.Raw)] = true
				b.Roots = append(b.Roots, c)
			}
		}
		for _, crl := range state.crls() {
			if !seen[string(crl.Raw)] {
				seen[string(crl.Raw)] = true
				b.CRLs = append(b.CRLs, crl)
			}
		}
	}
	if len(b.Roots) == 0 {
		return nil, &callError{op: "build the trust bundle", msg: "every issuer has expired", kind: fault.ErrExpired}
	}
	return b, nil
}

// mountRetry is when a mount that did not answer is asked again, at the latest.
const mountRetry = time.Minute

// Failures returns why the latest pull got nothing of a mount, by mount; none: an empty map. The bundle's
// Partial has the same for Status. It is safe for concurrent use.
func (t *Trust) Failures() map[string]error {
	t.failMu.Lock()
	defer t.failMu.Unlock()
	return maps.Clone(t.failures)
}

// namespaceOf applies the client's default to a provider's own namespace.
func (c *Client) namespaceOf(ns string) string {
	if ns == "" {
		return c.cfg.Namespace
	}
	return cleanNamespace(ns)
}

func fieldError(field string, err error) error {
	if err == nil {
		return nil
	}
	return &fault.ConfigError{Field: field, Err: err}
}

// selfSigned reports whether a certificate is its own issuer.
func selfSigned(c *x509.Certificate) bool {
	return string(c.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(c) == nil
}
