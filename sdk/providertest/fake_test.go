package providertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

// A fake is a good provider of any role, until its hooks make it a bad one.
type fake[V any] struct {
	mu      sync.Mutex
	value   V
	broken  error
	changed map[int]func()
	next    int

	// pull, if set, replaces the provider's answer; good is what it would have been.
	pull func(ctx context.Context, good V, err error) (V, error)
	// watch, if set, replaces Watch.
	watch    func(ctx context.Context, changed func()) error
	validate func() error
}

func (f *fake[V]) get(ctx context.Context) (V, error) {
	f.mu.Lock()
	v, err := f.value, f.broken
	f.mu.Unlock()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if f.pull != nil {
		return f.pull(ctx, v, err)
	}
	var zero V
	if err != nil {
		return zero, err
	}
	return v, nil
}

func (f *fake[V]) set(v V) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.value = v
	for _, c := range f.changed {
		c()
	}
}

func (f *fake[V]) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func (f *fake[V]) Watch(ctx context.Context, changed func()) error {
	if f.watch != nil {
		return f.watch(ctx, changed)
	}
	f.mu.Lock()
	if f.changed == nil {
		f.changed = map[int]func(){}
	}
	id := f.next
	f.next++
	f.changed[id] = changed
	f.mu.Unlock()
	changed() // from here on it sees all
	<-ctx.Done()
	f.mu.Lock()
	delete(f.changed, id)
	f.mu.Unlock()
	return ctx.Err()
}

func (f *fake[V]) Validate() error {
	if f.validate != nil {
		return f.validate()
	}
	return nil
}

// harness is complete: rotation, failure, an invalid twin. spoil makes the provider a bad one.
func harness[P, V any](role func(*fake[V]) P, make func(testing.TB) V, spoil func(*fake[V])) Harness[P] {
	var f *fake[V]
	return Harness[P]{
		New: func(t testing.TB) P {
			f = &fake[V]{value: make(t)}
			if spoil != nil {
				spoil(f)
			}
			return role(f)
		},
		Invalid: func(testing.TB) P {
			bad := &fake[V]{validate: func() error { return fmt.Errorf("fake: Path: is empty: %w", sdk.ErrConfig) }}
			return role(bad)
		},
		Rotate:  func(t testing.TB) { f.set(make(t)) },
		Break:   func(testing.TB) error { f.fail(fmt.Errorf("fake: %w", sdk.ErrPermission)); return sdk.ErrPermission },
		Mend:    func(testing.TB) { f.fail(nil) },
		Secrets: []string{"hunter2"},
	}
}

// A defect is a way to be a bad provider, and where a suite must notice.
type defect[V any] struct {
	name    string
	spoil   func(*fake[V])
	subtest string
	says    string
	hangs   bool // do not wait long for it
}

// common are the defects that a provider of any role can have.
func common[V any](t *testing.T) []defect[V] {
	var zero V
	count := 0
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	return []defect[V]{
		{"nil without an error", func(f *fake[V]) {
			f.pull = func(context.Context, V, error) (V, error) { return zero, nil }
		}, "FirstUse", "nil", false},
		{"fails at first", func(f *fake[V]) {
			f.pull = func(context.Context, V, error) (V, error) { return zero, errors.New("not yet") }
		}, "FirstUse", "not yet", false},
		{"does not hear its context", func(f *fake[V]) {
			f.pull = func(_ context.Context, v V, err error) (V, error) {
				if errors.Is(err, sdk.ErrPermission) {
					return zero, err
				}
				return v, nil
			}
		}, "Cancelled", "context canceled", false},
		{"hangs", func(f *fake[V]) {
			f.pull = func(context.Context, V, error) (V, error) { <-release; return zero, errors.New("late") }
		}, "FirstUse", "still running", true},
		{"hides its context's error", func(f *fake[V]) {
			f.pull = func(ctx context.Context, v V, err error) (V, error) {
				if ctx.Err() != nil {
					return zero, errors.New("something happened")
				}
				return v, err
			}
		}, "Cancelled", "something happened", false},
		{"is spoilt by a cancelled call", func(f *fake[V]) {
			spoilt := false
			f.pull = func(ctx context.Context, v V, err error) (V, error) {
				f.mu.Lock()
				defer f.mu.Unlock()
				spoilt = spoilt || ctx.Err() != nil
				if spoilt {
					return zero, context.Canceled
				}
				return v, err
			}
		}, "Cancelled", "pull: context canceled", false},
		{"serves one caller at a time", func(f *fake[V]) {
			var one sync.Mutex
			busy := make(chan struct{}, 8)
			f.pull = func(_ context.Context, v V, err error) (V, error) {
				if !one.TryLock() {
					busy <- struct{}{}
					return zero, errors.New("busy")
				}
				defer one.Unlock()
				select {
				case <-busy:
				case <-time.After(50 * time.Millisecond):
				}
				return v, err
			}
		}, "Concurrent", "busy", false},
		{"never looks again", func(f *fake[V]) {
			var once sync.Once
			var kept V
			f.pull = func(_ context.Context, v V, err error) (V, error) {
				if err != nil {
					return zero, err
				}
				once.Do(func() { kept = v })
				return kept, nil
			}
		}, "Rotate", "returned what it did before", true},
		{"returns what was after what is", func(f *fake[V]) {
			var values []any
			pulls := 0
			f.pull = func(ctx context.Context, v V, err error) (V, error) {
				if err != nil {
					return zero, err
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if len(values) == 0 || values[len(values)-1] != any(v) {
					values, pulls = append(values, v), 0
				}
				pulls++
				if len(values) > 1 && pulls == 2 {
					return values[0].(V), nil
				}
				return v, nil
			}
		}, "Rotate", "the second differs", false},
		{"keeps quiet about changes", func(f *fake[V]) {
			f.watch = func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
		}, "Watch", "was not called", true},
		{"stops watching", func(f *fake[V]) {
			f.watch = func(context.Context, func()) error { return errors.New("enough") }
		}, "Watch", "enough", true},
		{"watches for ever", func(f *fake[V]) {
			f.watch = func(_ context.Context, changed func()) error {
				for {
					select {
					case <-release:
						return nil
					case <-time.After(time.Millisecond):
						changed()
					}
				}
			}
		}, "Watch", "has not returned", true},
		{"Watch ends in an error of its own", func(f *fake[V]) {
			f.watch = func(ctx context.Context, changed func()) error {
				for ctx.Err() == nil {
					changed()
					time.Sleep(time.Millisecond)
				}
				return errors.New("interrupted")
			}
		}, "Watch", "interrupted", false},
		{"succeeds over a broken source", func(f *fake[V]) {
			f.pull = func(ctx context.Context, v V, _ error) (V, error) { return v, ctx.Err() }
		}, "Errors", "the pull succeeded", false},
		{"has no sentinel", func(f *fake[V]) {
			f.pull = func(ctx context.Context, v V, err error) (V, error) {
				if err != nil && ctx.Err() == nil {
					return zero, errors.New("no")
				}
				return v, err
			}
		}, "Errors", "want one that wraps", false},
		{"never mends", func(f *fake[V]) {
			f.pull = func(ctx context.Context, v V, err error) (V, error) {
				if err != nil && ctx.Err() == nil {
					f.pull = nil
					f.watch = nil
					f.pull = func(context.Context, V, error) (V, error) { return zero, sdk.ErrPermission }
				}
				return v, err
			}
		}, "Errors", "mended and pulls still fail", true},
		{"tells a secret", func(f *fake[V]) {
			f.pull = func(_ context.Context, v V, err error) (V, error) {
				if err != nil {
					return zero, fmt.Errorf("password hunter2: %w", err)
				}
				return v, nil
			}
		}, "Errors", "secret 0 is in an error", false},
		{"prints a key", func(f *fake[V]) {
			f.pull = func(_ context.Context, v V, err error) (V, error) {
				if err != nil {
					return zero, fmt.Errorf("-----BEGIN EC PRIVATE KEY-----: %w", err)
				}
				return v, nil
			}
		}, "Errors", "PEM private key", false},
		{"its own Validate fails", func(f *fake[V]) {
			f.validate = func() error { return sdk.ErrConfig }
		}, "Validate", "working provider", false},
		{"leaves a goroutine", func(f *fake[V]) {
			f.pull = func(_ context.Context, v V, err error) (V, error) {
				f.mu.Lock()
				defer f.mu.Unlock()
				if count++; err == nil {
					go func() { <-release }()
				}
				return v, err
			}
		}, "Goroutines", "left a goroutine", true},
	}
}

func defects[P, V any](t *testing.T, r role[P, V], as func(*fake[V]) P, make func(testing.TB) V, own []defect[V]) {
	for _, d := range append(common[V](t), own...) {
		t.Run(d.name, func(t *testing.T) {
			const patience = 20 * time.Second
			timeout := patience
			if d.hangs {
				timeout = 200 * time.Millisecond
			}
			for ; ; timeout *= 5 {
				h := harness(as, make, d.spoil)
				h.Timeout = timeout
				got := record(t, func(t tb) { run(t, h, r) })
				// On a slow machine something else may have taken longer than that.
				if timeout >= patience || strings.Contains(got[d.subtest].log, d.says) {
					caught(t, got, d.subtest, d.says)
					return
				}
			}
		})
	}
	t.Run("Validate takes anything", func(t *testing.T) {
		h := harness(as, make, nil)
		h.Invalid = h.New
		caught(t, record(t, func(t tb) { run(t, h, r) }), "Validate", "invalid provider")
	})
	t.Run("no New", func(t *testing.T) {
		caught(t, record(t, func(t tb) { run(t, Harness[P]{}, r) }), "", "no New")
	})
	t.Run("a good one passes", func(t *testing.T) {
		passed(t, record(t, func(t tb) { run(t, harness(as, make, nil), r) }),
			"FirstUse", "Steady", "Concurrent", "Cancelled", "Rotate", "Watch", "Errors", "Validate", "Goroutines", "Goroutines/Use")
	})
	t.Run("missing hooks skip", func(t *testing.T) {
		h := harness(as, make, nil)
		h.Rotate, h.Break = nil, nil
		res := record(t, func(t tb) { run(t, h, r) })
		for _, name := range []string{"Rotate", "Errors"} {
			if !res[name].skipped || res[name].failed {
				t.Errorf("%s without its hook: %+v, want it skipped", name, res[name])
			}
		}
	})
}
