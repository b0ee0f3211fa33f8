package stepca

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/smallstep/certificates/api"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// A Scope says whose roots a Trust gives.
type Scope int

const (
	// Own are the roots of the CA itself: `/roots`.
	Own Scope = iota
	// Federated are the roots of other CAs that this one vouches for, without its own: `/federation` less `/roots`. They
	// are a scope of their own, so that another organisation's CA vouches for nobody by accident: put them into the
	// Trust of the peers that they are for, or unite both with sdk.JoinTrust to mean it.
	Federated
)

// A CRLMode says what a Trust does about the CA's certificate revocation list. Only a CA with
// `"crl": {"enabled": true, "generateOnRevoke": true}` in its ca.json has one; without the second a revocation takes up to 16
// hours to be in it.
type CRLMode int

const (
	// CRLIfServed takes the list where the CA has one. Once it was seen, the last one stays in the bundle even when
	// the CA no longer gives it.
	CRLIfServed CRLMode = iota
	// CRLRequired fails the pull without a list.
	CRLRequired
	// CRLIgnored does not ask.
	CRLIgnored
)

// A TrustConfig says which roots. Its zero value is the CA's own roots with its CRL, if it has one, every 5 minutes.
type TrustConfig struct {
	Scope Scope
	CRL   CRLMode // for the scope Own alone
	// RefreshAfter is how often the CA is asked; 0: 5 minutes.
	RefreshAfter time.Duration
}

// A Trust gives the roots that the CA publishes. It implements sdk.TrustProvider and sdk.Validator.
type Trust struct {
	c   *Client
	cfg TrustConfig

	mu      sync.Mutex
	crls    []*x509.RevocationList // the last good one of each intermediate, the newest first
	hadRoot bool                   // a pull has succeeded
}

var (
	_ sdk.TrustProvider = (*Trust)(nil)
	_ sdk.Validator     = (*Trust)(nil)
)

// Trust makes a trust provider of the CA's roots. It does no input or output.
func (c *Client) Trust(cfg TrustConfig) *Trust { return &Trust{c: c, cfg: cfg} }

// Validate reports what is wrong with the configuration, without contacting the CA.
func (t *Trust) Validate() error {
	errs := []error{t.c.err}
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	if t.cfg.Scope != Own && t.cfg.Scope != Federated {
		bad("Scope", "is %d; use Own or Federated", t.cfg.Scope)
	}
	if t.cfg.CRL < CRLIfServed || t.cfg.CRL > CRLIgnored {
		bad("CRL", "is %d; use CRLIfServed, CRLRequired or CRLIgnored", t.cfg.CRL)
	}
	if t.cfg.Scope == Federated && t.cfg.CRL == CRLRequired {
		bad("CRL", "is CRLRequired; a step-ca serves no list for the roots of others: leave it 0 for the scope Federated")
	}
	if t.cfg.RefreshAfter < 0 {
		bad("RefreshAfter", "is %v; use a positive duration, or 0 for 5 minutes", t.cfg.RefreshAfter)
	}
	return wrap(errors.Join(errs...))
}

// TrustBundle asks the CA for its roots. The first call after a start falls back on the roots in the state folder when the
// CA does not answer; later ones return the error, since the caller holds the last good bundle.
//
// An ErrConfig names the field that is wrong. ErrNotFound with the scope Federated means that the CA knows no other root.
func (t *Trust) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	b, err := t.pull(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return nil, fail(fault.RoleTrust, "pull", err)
	}
	return b, nil
}

func (t *Trust) pull(ctx context.Context) (*sdk.TrustBundle, error) {
	roots, err := t.c.fetchRoots(ctx)
	if t.cfg.Scope == Federated {
		if err != nil {
			return nil, err
		}
		foreign, err := t.c.fetchFederation(ctx, roots)
		if err != nil {
			return nil, err
		}
		return &sdk.TrustBundle{Roots: foreign, RefreshAfter: t.cfg.RefreshAfter}, nil
	}
	if err != nil {
		return t.stored(ctx, err)
	}
	crls, err := t.revocations(ctx, roots)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hadRoot = true
	return &sdk.TrustBundle{Roots: roots, CRLs: crls, RefreshAfter: t.cfg.RefreshAfter}, nil
}

// stored is the bundle for a start without the CA: what was true when the state was written, asked for again soon.
func (t *Trust) stored(ctx context.Context, cause error) (*sdk.TrustBundle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hadRoot || ctx.Err() != nil || !errors.Is(cause, fault.ErrUnavailable) {
		return nil, cause
	}
	roots, err := t.c.loadRoots()
	if err != nil || len(roots) == 0 {
		return nil, cause
	}
	b := &sdk.TrustBundle{Roots: roots, RefreshAfter: soon}
	if t.cfg.CRL != CRLIgnored {
		crl, err := t.c.loadCRL()
		if err != nil { // a list that cannot be read is not "nothing revoked"
			return nil, fmt.Errorf("%w; the stored revocation list cannot be used either: %v", cause, err)
		}
		if crl != nil {
			t.crls = []*x509.RevocationList{crl}
		} else if t.cfg.CRL == CRLRequired {
			return nil, cause
		}
		b.CRLs = slices.Clone(t.crls)
	}
	t.hadRoot = true
	t.c.log.Warn("the CA does not answer; starting with the roots that were stored", "error", cause)
	return b, nil
}

// soon is when a pull that fell back on stored material asks again.
const soon = 15 * time.Second

// fetchFederation gives the roots of others.
func (c *Client) fetchFederation(ctx context.Context, own []*x509.Certificate) ([]*x509.Certificate, error) {
	var answer *api.FederationResponse
	err := c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
		answer, err = a.ca.FederationWithContext(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	all, err := certificates(answer.Certificates)
	if err != nil {
		return nil, fmt.Errorf("/federation: %w", err)
	}
	foreign := slices.DeleteFunc(all, func(r *x509.Certificate) bool { return slices.ContainsFunc(own, r.Equal) })
	if len(foreign) == 0 {
		return nil, fmt.Errorf("%w: the CA at %s vouches for no root of others; list them in `federatedRoots` of its ca.json",
			fault.ErrNotFound, c.url.Host)
	}
	return foreign, nil
}

// revocations gives the CA's CRL, verified.
func (t *Trust) revocations(ctx context.Context, roots []*x509.Certificate) ([]*x509.RevocationList, error) {
	if t.cfg.CRL == CRLIgnored {
		return nil, nil
	}
	crl, err := t.c.fetchCRL(ctx, roots)
	t.mu.Lock()
	defer t.mu.Unlock()
	var status *statusError
	switch {
	case err == nil:
		next := []*x509.RevocationList{crl}
		for _, old := range t.crls {
			switch {
			case !sameIssuer(old, crl): // of the intermediate before this one, whose certificates live on
				if old.NextUpdate.IsZero() || t.c.now().Before(old.NextUpdate) {
					next = append(next, old)
				}
			case old.Number != nil && crl.Number != nil && crl.Number.Cmp(old.Number) < 0:
				if !crl.ThisUpdate.After(old.ThisUpdate) {
					return nil, fmt.Errorf("%w: the CA gave CRL number %v after number %v", fault.ErrMaterial, crl.Number, old.Number)
				}
				// What it no longer revokes is for the federation to decide: Status().Held.
				t.c.log.Warn("the CA has made a CRL with a lower number than the one before, as a restored or new database does",
					"number", crl.Number, "before", old.Number)
			}
		}
		if len(t.crls) == 0 || !bytes.Equal(t.crls[0].Raw, crl.Raw) {
			if err := t.c.saveCRL(crl); err != nil {
				t.c.log.Warn("the CRL could not be stored; a restart without the CA knows of no revocation", "error", err)
			}
		}
		t.crls = next
	case errors.As(err, &status) && status.code == http.StatusNotFound:
		if t.cfg.CRL == CRLRequired {
			return nil, fmt.Errorf("%w: the CA at %s serves no CRL and CRLRequired asks for one; set `\"crl\": {\"enabled\": true, "+
				"\"generateOnRevoke\": true}` in its ca.json", fault.ErrMaterial, t.c.url.Host)
		}
		if len(t.crls) > 0 {
			t.c.log.Warn("the CA no longer serves its CRL; the last one stays in force", "next_update", t.crls[0].NextUpdate)
		}
	default:
		return nil, err
	}
	return slices.Clone(t.crls), nil
}

// sameIssuer reports whether one key of one CA signed both.
func sameIssuer(a, b *x509.RevocationList) bool {
	return bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId)
}
