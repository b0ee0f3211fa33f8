package rotate

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

func TestAPullThatIsSlowEndsWithItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		b.does(func(ctx context.Context) (material, error) { <-ctx.Done(); return material{}, ctx.Err() })
		begun := time.Now()
		err := s.Refresh(t.Context())
		if time.Since(begun) != 30*time.Second || !errors.Is(err, fault.ErrUnavailable) || !strings.Contains(err.Error(), "no answer within 30s") {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}
		if st := s.Status(); st.Abandoned != 0 || st.State != Failing {
			t.Errorf("status %+v", st)
		}
	})
}

func TestAnAnswerThatComesInTheLastMomentCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		b.does(func(ctx context.Context) (material, error) { <-ctx.Done(); return material{name: "b"}, nil })
		if err := s.Refresh(t.Context()); err != nil || name(s) != "b" {
			t.Errorf("error %v, current %q", err, name(s))
		}
	})
}

func TestPullsThatHangAreAbandonedUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		release := make(chan struct{})
		b.does(func(context.Context) (material, error) { <-release; return material{name: "late"}, nil })
		for i := range 3 {
			begun := time.Now()
			if err := s.Refresh(t.Context()); !errors.Is(err, fault.ErrUnavailable) || time.Since(begun) != 31*time.Second {
				t.Fatalf("error %v after %v", err, time.Since(begun))
			}
			if got := s.Status().Abandoned; got != i+1 {
				t.Errorf("%d calls abandoned, want %d", got, i+1)
			}
		}
		n := b.count()
		settle(time.Hour)
		if b.count() != n || s.Status().Abandoned != 3 || name(s) != "a" {
			t.Errorf("%d more calls, status %+v", b.count()-n, s.Status())
		}
		if err := s.Refresh(t.Context()); !errors.Is(err, fault.ErrUnavailable) || !strings.Contains(err.Error(), "3 earlier calls still hang") {
			t.Errorf("error %v", err)
		}
		b.issues("b", time.Hour, 0)
		close(release)
		synctest.Wait()
		if st := s.Status(); st.Abandoned != 0 || name(s) != "a" {
			t.Errorf("an abandoned answer was used: current %q, status %+v", name(s), st)
		}
		settle(time.Minute)
		if name(s) != "b" || s.Status().State != Fresh {
			t.Errorf("current %q, status %+v", name(s), s.Status())
		}
	})
}

func TestAHangingFirstPullEndsWithTheContextOfStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		release := make(chan struct{})
		defer close(release)
		b.does(func(context.Context) (material, error) { <-release; return material{}, nil })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := Start(ctx, b.config()); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 6*time.Second {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}
	})
}

// errs hides from static analysis that there are none.
func errs() []error { return nil }

func TestAPanicInAProviderIsAnError(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config[material], *backend)
		want   string
	}{
		"in pull": {func(_ *Config[material], b *backend) {
			b.does(func(context.Context) (material, error) { panic("hunter2") })
		}, "a value of type string"},
		"in pull, by the runtime": {func(_ *Config[material], b *backend) {
			b.does(func(context.Context) (material, error) { return material{}, errs()[0] })
		}, "index out of range"},
		"in pull, with nil": {func(_ *Config[material], b *backend) {
			b.does(func(context.Context) (material, error) { panic(nil) })
		}, "panic called with nil argument"},
		"by the end of its goroutine": {func(_ *Config[material], b *backend) {
			b.does(func(context.Context) (material, error) { runtime.Goexit(); return material{}, nil })
		}, "ended the goroutine"},
		"in its material": {func(cfg *Config[material], _ *backend) {
			cfg.Life = func(material) Life { var m *material; return m.life }
		}, "nil pointer"},
		"when it is accepted": {func(cfg *Config[material], _ *backend) {
			cfg.Accept = func(_, _ material) error { var m *material; m.name = ""; return nil }
		}, "nil pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				b.issues("a", time.Hour, 0)
				cfg := b.config()
				tc.change(&cfg, &b)
				_, err := Start(t.Context(), cfg)
				var pe *PanicError
				if !errors.As(err, &pe) || !errors.Is(err, fault.ErrMaterial) || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("error %v", err)
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error tells the value: %v", err)
				}
			})
		})
	}
}

func TestRefusedMaterialStaysOutAndIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 5*time.Minute, 0)
		cfg := b.config()
		reason := errors.New("drops every root")
		cfg.Accept = func(old, new material) error {
			if old.name == "a" && new.name != "c" {
				return reason
			}
			return nil
		}
		s := start(t, cfg)
		b.kinds()
		b.issues("b", 5*time.Minute, 0)
		settle(time.Hour)
		st := s.Status()
		if name(s) != "a" || !errors.Is(st.LastError, fault.ErrMaterial) || !errors.Is(st.LastError, reason) || st.State != Old {
			t.Errorf("current %q, status %+v", name(s), st)
		}
		if got := b.kinds(); !slices.Equal(got, []Kind{Refused, Stale}) {
			t.Errorf("events %v", got)
		}
		b.issues("other", 5*time.Minute, 0)
		settle(time.Minute)
		if got := b.kinds(); !slices.Equal(got, []Kind{Refused}) {
			t.Errorf("events for other material %v", got)
		}
		b.issues("c", 5*time.Minute, 0)
		settle(time.Minute)
		if got := b.kinds(); name(s) != "c" || !slices.Equal(got, []Kind{Changed, Recovered}) {
			t.Errorf("current %q, events %v", name(s), got)
		}
	})
}
