package rotate

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// watchOf is a Watch that hands its callback to the test.
func watchOf(changed *func()) func(context.Context, func()) error {
	return func(ctx context.Context, f func()) error {
		*changed = f
		<-ctx.Done()
		return ctx.Err()
	}
}

func TestAChangeThatWatchSeesIsPulledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		cfg := b.config()
		var changed func()
		cfg.Watch = watchOf(&changed)
		s := start(t, cfg)
		settle(10 * time.Second)
		b.issues("b", time.Hour, 0)
		changed()
		synctest.Wait()
		if name(s) != "b" {
			t.Errorf("current %q", name(s))
		}
	})
}

func TestASuspicionIsLookedIntoAtOnceAndAStormOfThemCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 24*time.Hour, 0)
		s := start(t, b.config()) // it is polled
		settle(10 * time.Second)
		b.issues("b", 24*time.Hour, 0)
		s.Suspect()
		synctest.Wait()
		if name(s) != "b" {
			t.Errorf("current %q", name(s))
		}
		n := b.count()
		for range 1000 {
			s.Suspect()
			settle(10 * time.Millisecond)
		}
		if got := b.count() - n; got > 20 {
			t.Errorf("%d pulls for 1000 suspicions in 10 s", got)
		}
		s.Close()
		s.Suspect()
	})
}

func TestAChangeWhileWatchIsBeingSetUpIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		cfg := b.config()
		var changed func()
		cfg.Watch = watchOf(&changed)
		s := start(t, cfg)
		b.issues("b", time.Hour, 0)
		settle(time.Second)
		if name(s) != "b" {
			t.Errorf("current %q", name(s))
		}
	})
}

func TestAChangeDuringAPullIsFollowedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		cfg := b.config()
		var changed func()
		cfg.Watch = watchOf(&changed)
		s := start(t, cfg)
		settle(10 * time.Second)
		b.does(func(context.Context) (material, error) {
			time.Sleep(time.Second) // it has read already what it will answer
			return material{name: "half"}, nil
		})
		changed()
		synctest.Wait()
		b.issues("whole", time.Hour, 0)
		changed()
		settle(2 * time.Second)
		if name(s) != "whole" {
			t.Errorf("current %q", name(s))
		}
	})
}

func TestAWatchStormCostsFewPullsAndMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 24*time.Hour, 0)
		cfg := b.config()
		cfg.Watch = func(ctx context.Context, changed func()) error {
			for wait(ctx, 10*time.Millisecond) == nil {
				changed()
			}
			return nil
		}
		s := start(t, cfg)
		settle(10 * time.Minute)
		// One every 5 s once it is clear that they bring nothing.
		if n := b.count(); n > 130 {
			t.Errorf("%d pulls for 60000 changes", n)
		}
		b.issues("b", 24*time.Hour, 0)
		settle(maxWake)
		if name(s) != "b" {
			t.Errorf("current %q", name(s))
		}
	})
}

func TestAWatchStormOfFailuresIsBoundedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 24*time.Hour, 0)
		cfg := b.config()
		cfg.Watch = func(ctx context.Context, changed func()) error {
			for wait(ctx, 10*time.Millisecond) == nil {
				changed()
			}
			return nil
		}
		s := start(t, cfg)
		b.fails(fault.ErrPermission)
		settle(10 * time.Minute)
		if n := b.count(); n > 130 {
			t.Errorf("%d pulls", n)
		}
		b.issues("b", 24*time.Hour, 0)
		settle(maxWake)
		if name(s) != "b" {
			t.Errorf("current %q", name(s))
		}
	})
}

func TestAQuietWatchIsAnsweredAtOnceAgainAfterAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 24*time.Hour, 0)
		cfg := b.config()
		var changed func()
		cfg.Watch = watchOf(&changed)
		s := start(t, cfg)
		for range 100 {
			settle(200 * time.Millisecond)
			changed()
		}
		settle(time.Minute)
		b.issues("b", 24*time.Hour, 0)
		changed()
		synctest.Wait()
		if name(s) != "b" {
			t.Fatalf("current %q", name(s))
		}
		b.issues("c", 24*time.Hour, 0)
		changed()
		settle(minWake)
		if name(s) != "c" {
			t.Errorf("current %q", name(s))
		}
	})
}

func TestAWatchThatEndsEarlyIsRestartedAndReportedOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func() error
		want error
	}{
		"with an error": {func() error { return fault.ErrPermission }, fault.ErrPermission},
		"without one":   {func() error { return nil }, fault.ErrUnavailable},
		"in panic":      {func() error { panic("boom") }, fault.ErrMaterial},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				b.issues("a", 24*time.Hour, 0)
				cfg := b.config()
				starts := 0
				cfg.Watch = func(context.Context, func()) error { starts++; return tc.end() }
				s := start(t, cfg)
				settle(time.Hour)
				if starts < 10 || starts > 130 {
					t.Errorf("%d starts in an hour", starts)
				}
				if n := b.count(); n != 1 {
					t.Errorf("%d pulls", n)
				}
				st := s.Status()
				if got := b.kinds(); !slices.Equal(got, []Kind{Changed, WatchLost}) || st.Watch != Waiting || !errors.Is(st.WatchError, tc.want) {
					t.Errorf("events %v, status %+v", got, st)
				}
			})
		})
	}
}

func TestAWatchThatWorkedAndEndedIsCoveredByAPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 24*time.Hour, 0)
		cfg := b.config()
		cfg.Watch = func(ctx context.Context, _ func()) error { return wait(ctx, 10*time.Minute) }
		s := start(t, cfg)
		settle(9 * time.Minute)
		n := b.count()
		b.issues("b", 24*time.Hour, 0)
		settle(time.Minute)
		if b.count() != n+1 || name(s) != "b" {
			t.Errorf("%d pulls more, current %q", b.count()-n, name(s))
		}
		// What changes before the new Watch stands is found soon after it does.
		b.issues("c", 24*time.Hour, 0)
		settle(3 * time.Second)
		if name(s) != "c" || s.Status().Watch != Watching {
			t.Errorf("current %q, watch %v", name(s), s.Status().Watch)
		}
	})
}

func TestAWatchThatIsUnsupportedMeansPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		cfg := b.config()
		starts := 0
		cfg.Watch = func(context.Context, func()) error { starts++; return fault.ErrUnsupported }
		s := start(t, cfg)
		settle(30 * time.Minute)
		if st := s.Status(); starts != 1 || b.count() != 1 || st.Watch != Polling || len(b.kinds()) != 1 {
			t.Errorf("%d starts, %d pulls, status %+v", starts, b.count(), st)
		}
	})
}

func TestAChangeAfterCloseIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		cfg := b.config()
		var changed func()
		cfg.Watch = watchOf(&changed)
		s := start(t, cfg)
		synctest.Wait()
		s.Close()
		n := b.count()
		changed()
		changed()
		synctest.Wait()
		if b.count() != n {
			t.Error("pulled after Close")
		}
	})
}
