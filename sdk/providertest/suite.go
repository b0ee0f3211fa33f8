package providertest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

func run[P, V any](t tb, h Harness[P], r role[P, V]) {
	t.Helper()
	if h.New == nil {
		t.Fatal("providertest: the harness has no New")
	}
	if h.Timeout <= 0 {
		h.Timeout = 30 * time.Second
	}
	s := &suite[P, V]{h: h, role: r}
	t.run("FirstUse", s.firstUse)
	t.run("Steady", s.steady)
	t.run("Concurrent", s.concurrent)
	t.run("Cancelled", s.cancelled)
	t.run("Rotate", s.rotate)
	t.run("Watch", s.watch)
	t.run("Errors", s.errors)
	t.run("Validate", s.validate)
	for _, name := range slices.Sorted(maps.Keys(r.extra)) {
		t.run(name, func(t tb) { r.extra[name](t, s) })
	}
	t.run("Goroutines", s.goroutines)
}

type suite[P, V any] struct {
	h    Harness[P]
	role role[P, V]

	mu      sync.Mutex
	secrets []string // seen in values
}

// pull calls the provider within Timeout and holds what it returns against the rules that hold always.
func (s *suite[P, V]) pull(ctx context.Context, t tb, p P) (V, error) {
	t.Helper()
	type answer struct {
		v   V
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, s.h.Timeout)
	done := make(chan answer, 1)
	go func() {
		defer cancel()
		v, err := s.role.pull(ctx, p)
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			s.checkSecrets(t, a.err)
		} else {
			s.remember(a.v)
		}
		return a.v, a.err
	case <-time.After(2 * s.h.Timeout):
		var zero V
		t.Fatalf("a pull is still running %v after its context ended", s.h.Timeout)
		return zero, nil
	}
}

// must pulls a value that has to be good.
func (s *suite[P, V]) must(t tb, p P) V {
	t.Helper()
	v, err := s.pull(context.Background(), t, p)
	if err != nil {
		t.Fatalf("pull: %v", err)
	}
	s.role.inspect(t, v)
	if t.Failed() {
		t.FailNow()
	}
	return v
}

func (s *suite[P, V]) firstUse(t tb) { s.must(t, s.h.New(t)) }

// steady holds that nothing changes unless the source does: a call that need not enrol does not.
func (s *suite[P, V]) steady(t tb) {
	p := s.h.New(t)
	first := s.must(t, p)
	before := s.role.print(first)
	if after := s.role.print(s.must(t, p)); after != before {
		t.Errorf("two pulls of an unchanged source differ:\n%s\n%s", before, after)
	}
	if now := s.role.print(first); now != before {
		t.Errorf("a value that was returned has changed:\nwas %s\nis  %s", before, now)
	}
}

func (s *suite[P, V]) concurrent(t tb) {
	p := s.h.New(t)
	const callers, calls = 8, 4
	errs := make(chan error, callers*calls)
	values := make(chan V, callers*calls)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), s.h.Timeout)
	defer cancel()
	for range callers {
		wg.Go(func() {
			for range calls {
				v, err := s.role.pull(ctx, p)
				if err != nil {
					errs <- err
					return
				}
				values <- v
			}
		})
	}
	if !within(2*s.h.Timeout, wg.Wait) {
		t.Fatalf("concurrent pulls are still running %v after their context ended", s.h.Timeout)
	}
	close(errs)
	close(values)
	for err := range errs {
		s.checkSecrets(t, err)
		t.Errorf("one of %d concurrent callers: %v", callers, err)
	}
	for v := range values {
		s.role.inspect(t, v)
	}
}

// cancelled holds that a context that has ended ends the call, with the context's error, and harms no later call.
func (s *suite[P, V]) cancelled(t tb) {
	p := s.h.New(t)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"before the first pull", cancelled}, {"past the deadline", late}} {
		_, err := s.pull(c.ctx, t, p)
		if !errors.Is(err, c.ctx.Err()) {
			t.Errorf("context ended %s: error is %v, want one that wraps %v", c.name, err, c.ctx.Err())
		}
	}
	s.must(t, p)
	if _, err := s.pull(cancelled, t, p); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended after the first pull: error is %v, want one that wraps %v", err, context.Canceled)
	}
	s.must(t, p)
}

func (s *suite[P, V]) rotate(t tb) {
	if s.h.Rotate == nil {
		t.Skip("the harness has no Rotate")
	}
	p := s.h.New(t)
	first := s.must(t, p)
	before := s.role.print(first)
	for i := range 2 {
		s.h.Rotate(t)
		after := s.role.print(s.must(t, p))
		if after == before {
			t.Fatalf("rotation %d: the pull returned what it did before: %s", i+1, after)
		}
		if again := s.role.print(s.must(t, p)); again != after {
			t.Fatalf("rotation %d: of two pulls after it the second differs: %s\n%s", i+1, after, again)
		}
		before = after
	}
	v := s.role.print(first)
	s.h.Rotate(t)
	s.must(t, p)
	if now := s.role.print(first); now != v {
		t.Errorf("a rotation changed a value that had been returned:\nwas %s\nis  %s", v, now)
	}
}

// watch holds that a change made once Watch was called is told, and that Watch ends with its context.
func (s *suite[P, V]) watch(t tb) {
	p := s.h.New(t)
	w, ok := any(p).(sdk.Watcher)
	if !ok {
		t.Skip("the provider is no sdk.Watcher")
	}
	before := s.role.print(s.must(t, p))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told := make(chan struct{}, 1)
	var over, late atomic.Bool
	ended := make(chan error, 1)
	go func() {
		err := w.Watch(ctx, func() {
			if over.Load() {
				late.Store(true)
			}
			select {
			case told <- struct{}{}:
			default:
			}
		})
		over.Store(true)
		ended <- err
	}()
	if s.h.Rotate == nil {
		t.Log("the harness has no Rotate: only the end of Watch is tested")
	} else {
		for i := range 2 {
			s.h.Rotate(t)
			before = s.awaitChange(t, p, before, told, ended, i+1)
		}
	}
	cancel()
	select {
	case err := <-ended:
		if errors.Is(err, sdk.ErrUnsupported) {
			t.Skip("Watch returned ErrUnsupported: the provider is polled")
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Watch returned %v when its context ended, want nil or the context's error", err)
		}
	case <-time.After(s.h.Timeout):
		t.Fatalf("Watch has not returned %v after its context ended", s.h.Timeout)
	}
	if s.h.Rotate != nil {
		s.h.Rotate(t)
		s.must(t, p)
	}
	if late.Load() {
		t.Error("changed was called after Watch had returned")
	}
}

// awaitChange pulls when told to, as sdk does, until the material differs.
func (s *suite[P, V]) awaitChange(t tb, p P, before string, told chan struct{}, ended chan error, n int) string {
	t.Helper()
	deadline := time.After(s.h.Timeout)
	for {
		select {
		case <-told:
			if after := s.role.print(s.must(t, p)); after != before {
				return after
			}
		case err := <-ended:
			if errors.Is(err, sdk.ErrUnsupported) {
				t.Skip("Watch returned ErrUnsupported: the provider is polled")
			}
			t.Fatalf("Watch returned while its context lived: %v", err)
		case <-deadline:
			t.Fatalf("rotation %d: changed was not called, or not after the change, within %v", n, s.h.Timeout)
		}
	}
}

func (s *suite[P, V]) errors(t tb) {
	if s.h.Break == nil {
		t.Skip("the harness has no Break")
	}
	p := s.h.New(t)
	s.must(t, p)
	want := s.h.Break(t)
	for range 2 {
		_, err := s.pull(context.Background(), t, p)
		if err == nil {
			t.Fatalf("the source is broken and the pull succeeded, want an error that wraps %q", want)
		}
		if !matches(err, want) {
			t.Errorf("the source is broken: error is %q, want one that wraps %q", err, want)
		}
	}
	if s.h.Mend == nil {
		return
	}
	s.h.Mend(t)
	deadline := time.Now().Add(s.h.Timeout)
	for {
		_, err := s.pull(context.Background(), t, p)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the source is mended and pulls still fail: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.must(t, p)
}

func (s *suite[P, V]) validate(t tb) {
	v, ok := any(s.h.New(t)).(sdk.Validator)
	if !ok {
		t.Skip("the provider is no sdk.Validator")
	}
	if err := v.Validate(); err != nil {
		s.checkSecrets(t, err)
		t.Errorf("Validate of a working provider: %v", err)
	}
	if s.h.Invalid == nil {
		return
	}
	bad, ok := any(s.h.Invalid(t)).(sdk.Validator)
	if !ok {
		t.Fatal("Invalid made a provider that is no sdk.Validator")
	}
	err := bad.Validate()
	if !errors.Is(err, sdk.ErrConfig) {
		t.Fatalf("Validate of an invalid provider: error is %v, want one that wraps %q", err, sdk.ErrConfig)
	}
	s.checkSecrets(t, err)
}

// within reports whether f ends in time.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

var sentinels = []error{
	sdk.ErrNotFound, sdk.ErrUnavailable, sdk.ErrPermission, sdk.ErrExpired, sdk.ErrConfig, sdk.ErrMaterial,
	sdk.ErrUnsupported, sdk.ErrClosed,
}

// matches is errors.Is, save that an error without a sentinel means ErrUnavailable.
func matches(err, want error) bool {
	if errors.Is(err, want) {
		return true
	}
	if !errors.Is(want, sdk.ErrUnavailable) {
		return false
	}
	for _, s := range sentinels {
		if errors.Is(err, s) {
			return false
		}
	}
	return true
}
