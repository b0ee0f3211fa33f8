package stepca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// An authority is the CA as an identity's life sees it.
type authority interface {
	enrol(ctx context.Context, key crypto.Signer) ([]*x509.Certificate, error)
	renew(ctx context.Context, h *held, fresh crypto.Signer) ([]*x509.Certificate, error)
	renewExpired(ctx context.Context, h *held) ([]*x509.Certificate, error)
	// check holds a chain against the CA's roots and what is wanted.
	check(ctx context.Context, chain []*x509.Certificate, pub crypto.PublicKey) ([]*x509.Certificate, error)
}

// live is the authority that a client speaks to.
type live struct {
	*Client
	cfg IdentityConfig
}

func (l live) enrol(ctx context.Context, key crypto.Signer) ([]*x509.Certificate, error) {
	r := request{names: l.cfg.Names, key: key, lifetime: l.cfg.Lifetime}
	if len(r.names) > 0 {
		r.subject = r.names[0]
	}
	return l.cfg.Enrolment.enrol(ctx, l.Client, r)
}

func (l live) check(ctx context.Context, chain []*x509.Certificate, pub crypto.PublicKey) ([]*x509.Certificate, error) {
	return l.checkIssued(ctx, chain, pub, l.cfg.Names, tlsUsage...)
}

// checkIssued is checkChain under the roots that are known, or else under those that the CA publishes now: it may issue
// under a root that is new.
func (c *Client) checkIssued(ctx context.Context, chain []*x509.Certificate, pub crypto.PublicKey, names []string, usage ...x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	a, err := c.contact(ctx)
	if err != nil {
		return nil, err
	}
	out, err := c.checkChain(chain, a.roots, pub, names, usage...)
	if err == nil {
		return out, nil
	}
	roots, rerr := c.fetchRoots(ctx)
	if rerr != nil { // whether err still holds under today's roots cannot be told
		return nil, fmt.Errorf("%w; meanwhile: %v", rerr, err)
	}
	return c.checkChain(chain, roots, pub, names, usage...)
}

// A certFlow keeps one certificate alive: state, enrolment, renewal, and what to do when they fail.
type certFlow struct {
	c         *Client
	path      string // of the state file; empty: none
	cfg       IdentityConfig
	authority authority

	gate   chan struct{} // held while current runs; waiting for it honours the context
	loaded bool          // the state file was looked at
	aside  error         // why it could not be used
	now    *held         // the last good certificate
	due    time.Time     // when to renew it
	served bool          // now has been returned
	spent  bool          // the one-time token was taken by the CA
	issued *held         // what it gave for that, where it could not be used yet
}

// current returns the certificate that is valid and after how long to ask again.
func (f *certFlow) current(ctx context.Context) (*held, time.Duration, error) {
	select {
	case f.gate <- struct{}{}:
		defer func() { <-f.gate }()
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	if err := f.c.ready(ctx); err != nil {
		return nil, 0, err
	}
	if err := f.load(ctx); err != nil {
		return nil, 0, err
	}
	now := f.c.now()
	if f.now != nil && now.Before(f.due) {
		return f.serve(now)
	}
	next, err := f.next(ctx, now)
	if err != nil {
		if f.now != nil && !f.served && now.Before(f.now.leaf().NotAfter) && ctx.Err() == nil {
			f.served = true
			f.c.log.Warn("the certificate is due and cannot be renewed; starting with it", "until", f.now.leaf().NotAfter, "error", err)
			return f.now, min(soon, f.now.leaf().NotAfter.Sub(now)), nil
		}
		return nil, 0, err
	}
	f.hold(next)
	f.due = freshDueAt(next.leaf(), f.c.now())
	if err := f.save(); err != nil {
		f.c.log.Error("the certificate could not be stored; a restart enrols again", "file", f.path, "error", err)
	}
	return f.serve(f.c.now())
}

// lend returns the certificate for another use while it is valid, due or not, and gets one where there is none.
func (f *certFlow) lend(ctx context.Context) (*held, error) {
	select {
	case f.gate <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err := f.load(ctx)
	h := f.now
	<-f.gate
	if err == nil && h != nil && f.c.now().Before(h.leaf().NotAfter) {
		return h, nil
	}
	h, _, err = f.current(ctx)
	return h, err
}

func (f *certFlow) hold(h *held) { f.now, f.due = h, dueAt(h.leaf()) }

func (f *certFlow) serve(now time.Time) (*held, time.Duration, error) {
	f.served = true
	return f.now, max(f.due.Sub(now), time.Second), nil
}

// next gets the certificate that follows f.now.
func (f *certFlow) next(ctx context.Context, now time.Time) (*held, error) {
	if f.now == nil {
		return f.enrol(ctx)
	}
	leaf := f.now.leaf()
	key := f.now.key
	var chain []*x509.Certificate
	var err error
	if now.After(leaf.NotAfter) {
		chain, err = f.authority.renewExpired(ctx, f.now)
		ended := leaf.NotAfter.UTC().Format(time.RFC3339)
		switch {
		case refused(err):
			err = fmt.Errorf("the certificate ended at %s and cannot be renewed; the provisioner needs `allowRenewalAfterExpiry` for that: %w: %w",
				ended, fault.ErrExpired, err)
		case err != nil:
			err = fmt.Errorf("the certificate ended at %s; renewing: %w", ended, err)
		}
	} else {
		var fresh crypto.Signer
		if f.cfg.Rekey {
			if fresh, err = f.cfg.newKey(); err != nil {
				return nil, fmt.Errorf("making a key: %w", err)
			}
			key = fresh
		}
		chain, err = f.authority.renew(ctx, f.now, fresh)
		if err != nil {
			err = fmt.Errorf("renewing: %w", err)
		}
	}
	if err == nil {
		return f.accept(ctx, key, chain)
	}
	if !refused(err) || ctx.Err() != nil {
		return nil, err
	}
	if !f.cfg.Enrolment.repeatable() {
		return nil, fmt.Errorf("%w; a OneTimeToken does not enrol twice: mint another and configure it", err)
	}
	f.c.log.Warn("the CA does not renew the certificate; enrolling again", "error", err)
	h, eerr := f.enrol(ctx)
	if eerr != nil {
		return nil, fmt.Errorf("%w; enrolling again: %w", err, eerr)
	}
	return h, nil
}

func (f *certFlow) enrol(ctx context.Context) (*held, error) {
	if f.issued != nil && f.c.now().Before(f.issued.leaf().NotAfter) {
		return f.accept(ctx, f.issued.key, f.issued.chain)
	}
	if f.spent {
		return nil, fmt.Errorf("%w: the OneTimeToken was used by this provider; mint another with `step ca token` and configure it", fault.ErrPermission)
	}
	key, err := f.cfg.newKey()
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	chain, err := f.authority.enrol(ctx, key)
	if err != nil {
		if f.aside != nil {
			err = fmt.Errorf("enrolling, because stored state cannot be used (%w): %w", f.aside, err)
		}
		return nil, err
	}
	if !f.cfg.Enrolment.repeatable() {
		f.spent, f.issued = true, &held{key: key, chain: chain} // a clock may be set yet, or the CA answer with a new root
	}
	return f.accept(ctx, key, chain)
}

// accept takes what the CA issued, if it is what was asked for.
func (f *certFlow) accept(ctx context.Context, key crypto.Signer, chain []*x509.Certificate) (*held, error) {
	chain, err := f.authority.check(ctx, chain, key.Public())
	if err != nil {
		return nil, err
	}
	if err := f.c.usableNow(chain[0]); err != nil {
		return nil, err
	}
	f.issued = nil
	return &held{key: key, chain: chain}, nil
}

// load looks for a certificate in the state file, once. What cannot be used is set aside; only a CA that cannot be asked
// for its roots is an error, since it says nothing about the file.
func (f *certFlow) load(ctx context.Context) error {
	if f.loaded || f.path == "" {
		return nil
	}
	s, err := readState(f.path)
	if err != nil && !errors.Is(err, fault.ErrMaterial) {
		return unreadable(err)
	}
	var h *held
	if err == nil && s != nil {
		if h, err = f.decode(ctx, s); err != nil && !errors.Is(err, fault.ErrMaterial) {
			return err
		}
	}
	f.loaded = true
	if err != nil {
		f.aside = err
		f.c.setAside(f.path, err)
		return nil
	}
	if h != nil {
		f.hold(h)
	}
	return nil
}

func unreadable(err error) error {
	return fmt.Errorf("%w: reading stored state: %w; make it readable for this user, or configure another StateDir", fault.ErrConfig, err)
}

func (f *certFlow) decode(ctx context.Context, s *stateFile) (*held, error) {
	if len(s.Certs) != 1 {
		return nil, fmt.Errorf("%w: %s holds %d certificates, want 1", fault.ErrMaterial, f.path, len(s.Certs))
	}
	h, err := s.Certs[0].decode(f.cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	chain, err := f.authority.check(ctx, h.chain, h.key.Public())
	if err != nil {
		return nil, fmt.Errorf("%s, issued by %q: %w", f.path, h.leaf().Issuer, err)
	}
	return &held{key: h.key, chain: chain}, nil
}

func (f *certFlow) save() error {
	if f.path == "" {
		return nil
	}
	s, err := f.now.encode(f.cfg.Key == nil)
	if err != nil {
		return err
	}
	return f.c.writeState(f.path, stateFile{Certs: []stateCert{s}})
}
