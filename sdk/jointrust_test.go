package sdk_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A part is a source of trust that the test moves. It watches, and validates.
type part struct {
	mu      sync.Mutex
	bundle  *sdk.TrustBundle
	err     error
	hang    bool
	watch   func(context.Context, func()) error
	changed map[*int]func()
	valid   error
}

func newPart(t testing.TB, names ...string) *part {
	t.Helper()
	p := &part{bundle: &sdk.TrustBundle{}, changed: map[*int]func(){}}
	for _, n := range names {
		p.bundle.Roots = append(p.bundle.Roots, sdktest.NewCA(t, sdktest.CAOptions{Name: n}).Certificate)
	}
	return p
}

func (p *part) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	p.mu.Lock()
	b, err, hang := p.bundle, p.err, p.hang
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return b, ctx.Err()
}

func (p *part) set(b *sdk.TrustBundle, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b != nil {
		p.bundle = b
	}
	p.err = err
	for _, c := range p.changed {
		c()
	}
}

func (p *part) Watch(ctx context.Context, changed func()) error {
	if p.watch != nil {
		return p.watch(ctx, changed)
	}
	id := new(int)
	p.mu.Lock()
	p.changed[id] = changed
	p.mu.Unlock()
	changed()
	<-ctx.Done()
	p.mu.Lock()
	delete(p.changed, id)
	p.mu.Unlock()
	return ctx.Err()
}

func (p *part) Validate() error { return p.valid }

func roots(b *sdk.TrustBundle) string {
	var names []string
	for _, c := range b.Roots {
		names = append(names, c.Subject.CommonName)
	}
	return strings.Join(names, " ")
}

func joined(t *testing.T, j *sdk.JoinedTrust, want string) *sdk.TrustBundle {
	t.Helper()
	b, err := j.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := roots(b); got != want {
		t.Errorf("roots are %q, want %q", got, want)
	}
	return b
}

func TestJoinTrustConforms(t *testing.T) {
	var a, b *part
	providertest.Trust(t, providertest.TrustHarness{
		New: func(t testing.TB) sdk.TrustProvider {
			a, b = newPart(t, "A"), newPart(t, "B")
			return sdk.JoinTrust(a, b)
		},
		Invalid: func(testing.TB) sdk.TrustProvider { return sdk.JoinTrust() },
		Rotate:  func(t testing.TB) { b.set(newPart(t, "C").bundle, nil) },
		Break: func(testing.TB) error {
			a.set(nil, sdk.ErrPermission)
			b.set(nil, sdk.ErrPermission)
			return sdk.ErrPermission
		},
		Mend: func(testing.TB) { a.set(nil, nil); b.set(nil, nil) },
	})
}

func TestJoinTrustUnites(t *testing.T) {
	ca := sdktest.NewCA(t, sdktest.CAOptions{Name: "A"})
	crl := ca.CRL(t, sdktest.CRLOptions{})
	a, b := newPart(t), newPart(t, "B")
	a.bundle.Roots = []*x509.Certificate{ca.Certificate}
	a.bundle.CRLs = []*x509.RevocationList{crl}
	b.bundle.Roots = append(b.bundle.Roots, ca.Certificate)
	b.bundle.CRLs = []*x509.RevocationList{crl}
	got := joined(t, sdk.JoinTrust(a, b), "A B")
	if len(got.CRLs) != 1 {
		t.Errorf("%d CRLs, want the one that both have, once", len(got.CRLs))
	}
	if got.RefreshAfter != 5*time.Minute {
		t.Errorf("RefreshAfter is %v, want the default of the sources", got.RefreshAfter)
	}
	a.bundle = &sdk.TrustBundle{Roots: a.bundle.Roots, RefreshAfter: time.Hour}
	if got := joined(t, sdk.JoinTrust(a), "A"); got.RefreshAfter != time.Hour {
		t.Errorf("RefreshAfter is %v, want the source's hour", got.RefreshAfter)
	}
	b.bundle.RefreshAfter = time.Second
	if got := joined(t, sdk.JoinTrust(a, b), "A B"); got.RefreshAfter != time.Second {
		t.Errorf("RefreshAfter is %v, want the shortest", got.RefreshAfter)
	}
}

func TestJoinTrustKeepsTheLastGoodOfEach(t *testing.T) {
	a, b := newPart(t, "A"), newPart(t, "B")
	j := sdk.JoinTrust(a, b)
	var told []string
	j.OnFailure = func(i int, err error) { told = append(told, fmt.Sprint(i, errors.Is(err, sdk.ErrUnavailable))) }
	joined(t, j, "A B")

	b.set(nil, sdk.ErrUnavailable)
	a.set(newPart(t, "A2").bundle, nil)
	got := joined(t, j, "A2 B") // b's outage does not hold up a
	if got.RefreshAfter > time.Minute {
		t.Errorf("RefreshAfter is %v, want to ask again within a minute while a source fails", got.RefreshAfter)
	}
	if !slices.Equal(told, []string{"1 true"}) {
		t.Errorf("OnFailure was told %v, want source 1 once", told)
	}
	if f := j.Failures(); f[0] != nil || !errors.Is(f[1], sdk.ErrUnavailable) {
		t.Errorf("failures are %v, want one of source 1", f)
	}
	if !errors.Is(got.Partial, sdk.ErrUnavailable) || !strings.Contains(got.Partial.Error(), "source 1") {
		t.Errorf("Partial is %v, want the failure of source 1", got.Partial)
	}
	if outer := joined(t, sdk.JoinTrust(j), "A2 B"); !errors.Is(outer.Partial, sdk.ErrUnavailable) {
		t.Errorf("Partial of a join of the join is %v, want what is missing further in", outer.Partial)
	}

	b.set(&sdk.TrustBundle{}, nil) // empty: nonsense, not a decision
	joined(t, j, "A2 B")
	if f := j.Failures(); !errors.Is(f[1], sdk.ErrMaterial) {
		t.Errorf("failures are %v, want ErrMaterial of source 1", f)
	}

	a.set(nil, sdk.ErrPermission)
	_, err := j.TrustBundle(t.Context())
	if !errors.Is(err, sdk.ErrPermission) || !errors.Is(err, sdk.ErrMaterial) {
		t.Errorf("with every source failing the error is %v, want that of each", err)
	}

	a.set(nil, nil)
	b.set(newPart(t, "B2").bundle, nil)
	if got := joined(t, j, "A2 B2"); got.Partial != nil {
		t.Errorf("Partial is %v, want none", got.Partial)
	}
	if f := j.Failures(); f[0] != nil || f[1] != nil {
		t.Errorf("failures are %v, want none", f)
	}
}

func TestJoinTrustNeedsEverySourceAtFirst(t *testing.T) {
	a, b := newPart(t, "A"), newPart(t, "B")
	b.err = sdk.ErrNotFound
	j := sdk.JoinTrust(a, b)
	if _, err := j.TrustBundle(t.Context()); !errors.Is(err, sdk.ErrNotFound) || !strings.Contains(err.Error(), "source 1") {
		t.Errorf("error is %v, want ErrNotFound of source 1", err)
	}
	b.set(nil, nil)
	joined(t, j, "A B")
}

func TestJoinTrustDropsALastGoodThatHasExpired(t *testing.T) {
	a, b := newPart(t, "A"), newPart(t)
	ca := sdktest.NewCA(t, sdktest.CAOptions{Name: "B"})
	soon := *ca.Certificate
	soon.NotAfter = time.Now().Add(time.Hour)
	b.bundle.Roots = []*x509.Certificate{&soon}
	j := sdk.JoinTrust(a, b)
	joined(t, j, "A B")
	b.set(nil, sdk.ErrUnavailable)
	joined(t, j, "A B")
	soon.NotAfter = time.Now().Add(-time.Second)
	if _, err := j.TrustBundle(t.Context()); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("error is %v, want the source's own", err)
	}
}

// One source that hangs costs the others three quarters of the caller's time, and no more.
func TestJoinTrustOutlivesASourceThatHangs(t *testing.T) {
	a, b := newPart(t, "A"), newPart(t, "B")
	synctest.Test(t, func(t *testing.T) {
		j := sdk.JoinTrust(a, b)
		joined(t, j, "A B")
		b.hang = true
		start := time.Now()
		joined(t, j, "A B")
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("without a deadline a hanging source is waited for %v, want 10s", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start = time.Now()
		if _, err := j.TrustBundle(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("with 4s left a hanging source is waited for %v, want 3s", d)
		}
	})
}

func TestJoinTrustWatch(t *testing.T) {
	watch := func(ctx context.Context, j *sdk.JoinedTrust, changed func()) chan error {
		ended := make(chan error, 1)
		go func() { ended <- j.Watch(ctx, changed) }()
		return ended
	}
	plain := sdk.TrustFunc(newPart(t, "F").TrustBundle)

	t.Run("no source can be watched", func(t *testing.T) {
		never := newPart(t, "A")
		never.watch = func(context.Context, func()) error { return sdk.ErrUnsupported }
		if err := <-watch(t.Context(), sdk.JoinTrust(plain, never), func() {}); !errors.Is(err, sdk.ErrUnsupported) {
			t.Errorf("Watch returned %v, want ErrUnsupported", err)
		}
	})
	t.Run("one can, another says no", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, never := newPart(t, "A"), newPart(t, "N")
			never.watch = func(context.Context, func()) error { return sdk.ErrUnsupported }
			told := 0
			ctx, cancel := context.WithCancel(t.Context())
			ended := watch(ctx, sdk.JoinTrust(plain, never, a), func() { told++ })
			synctest.Wait()
			a.set(nil, nil)
			if told != 2 { // at the beginning, and now
				t.Errorf("told %d times, want 2", told)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Watch returned %v, want the context's error", err)
			}
		})
	})
	t.Run("one watch breaks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newPart(t, "A"), newPart(t, "B")
			b.watch = func(context.Context, func()) error { return sdk.ErrPermission }
			if err := <-watch(t.Context(), sdk.JoinTrust(a, b), func() {}); !errors.Is(err, sdk.ErrPermission) {
				t.Errorf("Watch returned %v, want the error of the one that broke", err)
			}
			b.watch = func(context.Context, func()) error { return nil }
			if err := <-watch(t.Context(), sdk.JoinTrust(a, b), func() {}); !errors.Is(err, sdk.ErrUnavailable) {
				t.Errorf("Watch returned %v, want ErrUnavailable for one that ended without a reason", err)
			}
		})
	})
}

func TestJoinTrustValidates(t *testing.T) {
	bad := newPart(t, "A")
	bad.valid = &sdk.ConfigError{Field: "Path", Err: errors.New("is empty")}
	for name, c := range map[string]struct {
		join *sdk.JoinedTrust
		says string
	}{
		"no source":  {sdk.JoinTrust(), "at least one"},
		"nil source": {sdk.JoinTrust(newPart(t, "A"), nil), "JoinTrust[1]"},
		"bad source": {sdk.JoinTrust(newPart(t, "A"), bad), "source 1: Path"},
	} {
		err := c.join.Validate()
		if !errors.Is(err, sdk.ErrConfig) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error is %v, want ErrConfig that says %q", name, err, c.says)
		}
	}
}
