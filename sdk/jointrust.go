package sdk

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	joinTimeout = 10 * time.Second // for one source, when the caller sets no deadline
	joinRetry   = time.Minute      // when to ask again while a source fails
)

// JoinTrust unites several sources of trust: the roots and CRLs of all, each once. Whoever any of the sources
// vouches for is trusted; to trust a CA for one peer only, use Peer.Trust instead.
//
// The first pull needs every source. Later, a source that fails is stood in for by what it returned last, for as
// long as a root in that is valid, so that one source's outage neither removes its own roots nor holds up the
// others'. Only when every source fails does the pull fail. The bundle's Partial, and so Status, tells which source is
// failing and why; OnFailure and Failures do by its index.
//
// Watch forwards to the sources that are Watchers, Validate to those that are Validators. It closes nothing.
func JoinTrust(providers ...TrustProvider) *JoinedTrust {
	return &JoinedTrust{sources: slices.Clone(providers), last: make([]*TrustBundle, len(providers)), errs: make([]error, len(providers))}
}

// JoinedTrust is what JoinTrust makes. It is safe for concurrent use.
type JoinedTrust struct {
	// OnFailure, if set before first use, is called when a source fails and what it returned last stands in for
	// it. The source is its index among the arguments of JoinTrust. It must return quickly.
	OnFailure func(source int, err error)

	sources []TrustProvider

	mu   sync.Mutex
	last []*TrustBundle // what each source returned last
	errs []error        // how each source's latest pull failed
}

var (
	_ TrustProvider = (*JoinedTrust)(nil)
	_ Watcher       = (*JoinedTrust)(nil)
	_ Validator     = (*JoinedTrust)(nil)
)

// TrustBundle pulls all sources at once. Each has three quarters of the time that ctx leaves, or 10 s.
func (j *JoinedTrust) TrustBundle(ctx context.Context) (*TrustBundle, error) {
	if err := j.sane(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fresh, errs := j.pullAll(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}

	now := time.Now()
	bundles := make([]*TrustBundle, len(fresh))
	var fatal []error // sources that nothing stands in for
	failed := 0
	j.mu.Lock()
	for i := range fresh {
		j.errs[i] = errs[i]
		switch {
		case errs[i] == nil:
			j.last[i], bundles[i] = fresh[i], fresh[i]
		case anyValid(j.last[i], now):
			bundles[i] = j.last[i]
			failed++
		default:
			fatal = append(fatal, errs[i])
			failed++
		}
	}
	j.mu.Unlock()
	if len(fatal) > 0 || failed == len(fresh) {
		if len(fatal) == 0 {
			fatal = errs
		}
		return nil, errors.Join(fatal...)
	}
	if j.OnFailure != nil {
		for i, err := range errs {
			if err != nil {
				j.OnFailure(i, err)
			}
		}
	}
	all := unite(bundles, failed > 0)
	all.Partial = partial(bundles, errs)
	return all, nil
}

// pullAll asks every source and waits for all answers.
func (j *JoinedTrust) pullAll(ctx context.Context) ([]*TrustBundle, []error) {
	limit := joinTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) * 3 / 4
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	bundles, errs := make([]*TrustBundle, len(j.sources)), make([]error, len(j.sources))
	var wg sync.WaitGroup
	for i, p := range j.sources {
		wg.Go(func() {
			b, err := p.TrustBundle(ctx)
			if err == nil {
				_, err = newBundle(b, time.Now()) // one source's nonsense must not spoil the others'
			}
			if err != nil {
				b, err = nil, fmt.Errorf("source %d: %w", i, err)
			}
			bundles[i], errs[i] = b, err
		})
	}
	wg.Wait()
	return bundles, errs
}

// unite keeps the order of the sources. The bundle is asked for again when the first of them is due, and soon while
// one is failing.
func unite(bundles []*TrustBundle, failing bool) *TrustBundle {
	all := &TrustBundle{}
	seen := map[string]bool{}
	first := func(raw []byte) bool {
		if seen[string(raw)] {
			return false
		}
		seen[string(raw)] = true
		return true
	}
	for i, b := range bundles {
		after := b.RefreshAfter
		if after == 0 {
			after = defaultRefresh
		}
		if i == 0 || after < all.RefreshAfter {
			all.RefreshAfter = after
		}
		for _, c := range b.Roots {
			if first(c.Raw) {
				all.Roots = append(all.Roots, c)
			}
		}
		for _, l := range b.CRLs {
			if first(l.Raw) {
				all.CRLs = append(all.CRLs, l)
			}
		}
	}
	if failing {
		all.RefreshAfter = min(all.RefreshAfter, joinRetry)
	}
	return all
}

// partial joins why sources failed with what their own bundles lack.
func partial(bundles []*TrustBundle, failed []error) error {
	var errs []error
	for i, b := range bundles {
		switch {
		case failed[i] != nil:
			errs = append(errs, failed[i])
		case b.Partial != nil:
			errs = append(errs, fmt.Errorf("source %d: %w", i, b.Partial))
		}
	}
	return errors.Join(errs...)
}

func anyValid(b *TrustBundle, now time.Time) bool {
	return b != nil && slices.ContainsFunc(b.Roots, func(c *x509.Certificate) bool { return !now.After(c.NotAfter) })
}

// Failures returns, for each source in the order of JoinTrust, why its latest pull failed; nil if it did not.
func (j *JoinedTrust) Failures() []error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.errs)
}

// Watch watches the sources that can be watched, and returns ErrUnsupported if none can. If the watch of one ends
// early, all end, with its error. The other sources are seen when the bundle is next pulled.
func (j *JoinedTrust) Watch(ctx context.Context, changed func()) error {
	if err := j.sane(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var one sync.Mutex // changed is not called twice at once
	var wg sync.WaitGroup
	for _, p := range j.sources {
		w, ok := p.(Watcher)
		if !ok {
			continue
		}
		wg.Go(func() {
			err := w.Watch(ctx, func() {
				one.Lock()
				defer one.Unlock()
				changed()
			})
			if ctx.Err() == nil && !errors.Is(err, ErrUnsupported) {
				if err == nil {
					err = fmt.Errorf("sdk: the watch of a source ended early: %w", ErrUnavailable)
				}
				cancel(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		return ErrUnsupported
	}
	return context.Cause(ctx)
}

// Validate validates every source that can be.
func (j *JoinedTrust) Validate() error {
	if err := j.sane(); err != nil {
		return err
	}
	var errs []error
	for i, p := range j.sources {
		if v, ok := p.(Validator); ok {
			if err := v.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("source %d: %w", i, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (j *JoinedTrust) sane() error {
	if len(j.sources) == 0 {
		return fmt.Errorf("sdk: %w", &ConfigError{Field: "JoinTrust", Err: errors.New("has no source; give it at least one")})
	}
	for i, p := range j.sources {
		if p == nil {
			return fmt.Errorf("sdk: %w", &ConfigError{Field: fmt.Sprintf("JoinTrust[%d]", i), Err: errors.New("is nil; leave it out, or give a provider")})
		}
	}
	return nil
}
