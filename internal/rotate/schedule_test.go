package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

func TestMaterialIsPulledWhenItIsDueAndJitterComesAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 16*time.Hour, 24*time.Hour)
		s := start(t, b.config())
		// Half of a tenth of 16 h after 16 h.
		due := 16*time.Hour + 48*time.Minute
		if got := time.Until(s.Status().Next); got != due {
			t.Errorf("due in %v, want %v", got, due)
		}
		b.issues("b", 24*time.Hour, 48*time.Hour)
		settle(due - time.Second)
		if b.count() != 1 {
			t.Errorf("%d pulls a second before it is due", b.count())
		}
		settle(time.Second)
		if b.count() != 2 || name(s) != "b" {
			t.Errorf("%d pulls, current %q a second later", b.count(), name(s))
		}
	})
}

func TestTheSameMaterialKeepsItsDueTimeHoweverOftenItIsPulled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 16*time.Hour, 24*time.Hour)
		cfg := b.config()
		rolls := []float64{0.3, 0.9, 0.1, 0.7}
		cfg.Rand = func() float64 { r := rolls[0]; rolls = rolls[1:]; return r }
		s := start(t, cfg)
		due := s.Status().Next
		for range 10 {
			settle(time.Hour)
			if err := s.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.Status().Next; !got.Equal(due) {
				t.Fatalf("due %v, was %v", got, due)
			}
		}
		if got := s.Status().Generation; got != 1 {
			t.Errorf("generation %d", got)
		}
	})
}

func TestPolledMaterialIsFirstDueAnywhereInItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		hourly := func(context.Context) (material, error) {
			return material{"a", Life{Refresh: b.now().Add(time.Hour), Expires: b.now().AddDate(10, 0, 0)}}, nil
		}
		b.does(hourly)
		cfg := b.config()
		cfg.Poll = true
		rolls := []float64{0, 0.25} // of the jitter, which then stays, and of the first time
		cfg.Rand = func() float64 { r := rolls[0]; rolls = rolls[1:]; return r }
		s := start(t, cfg)
		due := func(when string, want time.Duration) {
			t.Helper()
			if got := time.Until(s.Status().Next); got != want || len(rolls) > 0 {
				t.Fatalf("%s: due in %v, want %v; %d rolls left", when, got, want, len(rolls))
			}
		}
		due("after the start", 15*time.Minute)

		rolls = []float64{0.5}
		if err := s.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		due("asked for before that", 30*time.Minute)
		settle(30*time.Minute - time.Millisecond)
		due("from then on", time.Hour)
		if err := s.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		due("asked for in between", time.Hour)

		rolls = []float64{0.5, 0.75} // of the backoff, and of the first time
		b.fails(fault.ErrUnavailable)
		if err := s.Refresh(t.Context()); err == nil {
			t.Fatal("no error")
		}
		b.does(hourly)
		settle(250*time.Millisecond - time.Millisecond)
		due("after a failure", 45*time.Minute)
		settle(45*time.Minute - time.Millisecond)
		due("from then on", time.Hour)
	})
}

// A source that wants to be asked often is asked often, although it or this machine is slow.
func TestMaterialThatCameDueDuringItsPullIsPulledAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.does(func(context.Context) (material, error) {
			m := material{"a", Life{Refresh: b.now().Add(200 * time.Millisecond), Expires: b.now().AddDate(10, 0, 0)}}
			time.Sleep(300 * time.Millisecond)
			return m, nil
		})
		s := start(t, b.config())
		settle(4 * time.Second)
		if n := b.count(); n < 8 || n > 12 {
			t.Errorf("%d pulls in 4 s, want one every 400 ms", n)
		}
		if st := s.Status(); st.State != Fresh {
			t.Errorf("state %s", st.State)
		}
	})
}

func TestAMachineThatSleptPastTheRenewalPullsWithinASecondOfWaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 16*time.Hour, 24*time.Hour)
		s := start(t, b.config())
		settle(time.Hour)
		b.issues("b", 40*time.Hour, 48*time.Hour)
		b.sleep(20 * time.Hour)
		settle(time.Second)
		if b.count() != 2 || name(s) != "b" {
			t.Errorf("%d pulls, current %q", b.count(), name(s))
		}
		if got := b.kinds(); !slices.Equal(got, []Kind{Changed, Changed}) {
			t.Errorf("events %v", got)
		}
	})
}

func TestAMachineThatSleptPastTheExpirySaysSoAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 16*time.Hour, 24*time.Hour)
		s := start(t, b.config())
		b.kinds()
		b.fails(errors.New("the network is not up yet"))
		b.sleep(30 * time.Hour)
		settle(time.Second)
		if name(s) != "a" || s.Status().State != Ended {
			t.Errorf("current %q, state %v", name(s), s.Status().State)
		}
		b.issues("b", 16*time.Hour, 24*time.Hour)
		settle(5 * time.Second)
		if name(s) != "b" || s.Status().State != Fresh {
			t.Errorf("current %q, state %v", name(s), s.Status().State)
		}
		got := b.kinds()
		if slices.Contains(got, Expired) != true || got[len(got)-2] != Changed || got[len(got)-1] != Recovered {
			t.Errorf("events %v", got)
		}
	})
}

func TestAWallClockThatIsSetBackDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		b.issues("b", time.Hour, 0)
		b.sleep(-100 * time.Hour)
		settle(time.Hour + 3*time.Minute)
		if name(s) != "b" {
			t.Errorf("current %q", name(s))
		}
	})
}

func TestAnHourOfFailureKeepsTheLastGoodValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 5*time.Minute, 0)
		s := start(t, b.config())
		b.kinds()
		b.fails(errors.New("connection refused"))
		settle(5*time.Minute + 15*time.Second) // due, with half a tenth of jitter
		if b.count() != 2 || s.Status().State != Failing {
			t.Fatalf("%d pulls, %v", b.count(), s.Status().State)
		}
		settle(time.Hour)
		st := s.Status()
		if name(s) != "a" || st.State != Old || st.Generation != 1 {
			t.Errorf("current %q, status %+v", name(s), st)
		}
		// Half of 0.5, 1, 2, 4, … 32 s, then of 60 s: 7 quick ones, then two a minute.
		if n := b.count() - 2; n < 120 || n > 130 {
			t.Errorf("%d pulls in the hour", n)
		}
		b.does(nil)
		b.issues("b", 5*time.Minute, 0)
		settle(30 * time.Second)
		if name(s) != "b" || s.Status().State != Fresh {
			t.Errorf("half a minute after the outage: current %q, %v", name(s), s.Status().State)
		}
		stale, recovered := 0, 0
		for _, k := range b.kinds() {
			switch k {
			case Stale:
				stale++
			case Recovered:
				recovered++
			}
		}
		if stale != 1 || recovered != 1 {
			t.Errorf("%d stale and %d recovered events", stale, recovered)
		}
	})
}

func TestMaterialTurnsStaleOnceLongAfterItWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 16*time.Hour, 24*time.Hour)
		s := start(t, b.config())
		b.kinds()
		// The source goes on to answer the same certificate: nobody renews it.
		settle(16*time.Hour + 48*time.Minute)
		if s.Status().State != Fresh {
			t.Errorf("when due: %v", s.Status().State)
		}
		half := (24*time.Hour - 16*time.Hour - 48*time.Minute) / 2
		settle(half - time.Minute)
		if s.Status().State != Fresh {
			t.Errorf("before half of the rest: %v", s.Status().State)
		}
		settle(time.Minute)
		if s.Status().State != Old || !slices.Equal(b.kinds(), []Kind{Stale}) {
			t.Errorf("at half of the rest: %v", s.Status().State)
		}
		settle(half)
		if s.Status().State != Ended {
			t.Errorf("at the end: %v", s.Status().State)
		}
		if got := b.kinds(); got[0] != Expired && got[1] != Expired || slices.Contains(got, Stale) || slices.Contains(got, Recovered) {
			t.Errorf("events %v", got)
		}
		if n := b.count(); n > 150 {
			t.Errorf("%d pulls", n)
		}
	})
}

func TestTheSourceThatAnswersExpiredMaterialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Minute, time.Hour)
		s := start(t, b.config())
		b.issues("old", -2*time.Hour, -time.Hour)
		err := s.Refresh(t.Context())
		if !errors.Is(err, fault.ErrExpired) || name(s) != "a" {
			t.Errorf("error %v, current %q", err, name(s))
		}
	})
}

func TestAWishToRefreshAfterTheEndIsBroughtBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 100*time.Hour, 3*time.Hour)
		s := start(t, b.config())
		if d := time.Until(s.Status().Next); d < 2*time.Hour || d >= 3*time.Hour {
			t.Errorf("due in %v", d)
		}
	})
}

func TestLivesOfNonsenseNeitherSpinNorStall(t *testing.T) {
	const century = 100 * 365 * 24 * time.Hour
	for name, life := range map[string]Life{
		"none":                     {},
		"refresh at the year 1":    {Refresh: time.Time{}.Add(1)},
		"refresh at the year 9999": {Refresh: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		"all far ahead":            {Refresh: time.Now().Add(2 * century), Expires: time.Now().Add(2*century + 1)},
		"refresh now":              {Refresh: time.Unix(946684800, 0)}, // when a synctest bubble begins
		"expires in a moment":      {Refresh: time.Unix(946684800, 1), Expires: time.Unix(946684800, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				cfg := b.config()
				b.issues("a", 0, 0)
				cfg.Life = func(material) Life { return life }
				s := start(t, cfg)
				next := time.Until(s.Status().Next)
				if next < minRefresh || next > longest*2 {
					t.Errorf("due in %v", next)
				}
				settle(time.Hour)
				if b.count() > 3600 {
					t.Errorf("%d pulls in an hour", b.count())
				}
			})
		})
	}
}

func TestRetryAfterIsALowerBound(t *testing.T) {
	for _, tc := range []struct{ asked, want time.Duration }{
		{3 * time.Minute, 3*time.Minute + 250*time.Millisecond},
		{365 * 24 * time.Hour, time.Hour + 250*time.Millisecond},
		{-time.Hour, 250 * time.Millisecond},
	} {
		t.Run(tc.asked.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				b.issues("a", time.Hour, 0)
				cfg := b.config()
				var changed func()
				cfg.Watch = watchOf(&changed)
				s := start(t, cfg)
				settle(10 * time.Second)
				pe := &fault.ProviderError{Role: fault.RoleIdentity, Op: "sign", Err: fault.ErrUnavailable, RetryAfter: tc.asked}
				b.fails(fmt.Errorf("vault: %w", pe))
				if err := s.Refresh(t.Context()); !errors.Is(err, fault.ErrUnavailable) {
					t.Fatal(err)
				}
				if got := time.Until(s.Status().Next); got != tc.want {
					t.Errorf("next pull in %v, want %v", got, tc.want)
				}
				n := b.count()
				changed()
				settle(100 * time.Millisecond)
				if pulled := b.count() > n; pulled != (tc.asked < 0) {
					t.Errorf("pulled for a change before that: %v", pulled)
				}
				if err := s.Refresh(t.Context()); err == nil || b.count() != n+1 && tc.asked > 0 {
					t.Error("Refresh did not pull")
				}
			})
		})
	}
}

func TestErrorsThatSomebodyHasToCureWaitLonger(t *testing.T) {
	pulls := func(err error) (n int) {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			b.issues("a", time.Minute, 0)
			s := start(t, b.config())
			b.fails(err)
			settle(24 * time.Hour)
			n = b.count()
			if name(s) != "a" {
				t.Errorf("current %q", name(s))
			}
		})
		return n
	}
	passing, lasting := pulls(fault.ErrUnavailable), pulls(fault.ErrPermission)
	// A day has 2880 times half a minute and 576 times two and a half minutes.
	if passing < 2870 || passing > 2900 || lasting < 570 || lasting > 600 {
		t.Errorf("%d pulls a day when unavailable, %d without permission", passing, lasting)
	}
}

func TestFlappingSourcesAreReportedEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", 5*time.Minute, 0)
		s := start(t, b.config())
		b.kinds()
		for range 5 {
			b.fails(fault.ErrUnavailable)
			if s.Refresh(t.Context()) == nil {
				t.Fatal("no error")
			}
			b.issues("a", 5*time.Minute, 0)
			if err := s.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := b.kinds(), slices.Repeat([]Kind{Failed, Recovered}, 5); !slices.Equal(got, want) {
			t.Errorf("events %v", got)
		}
		if st := s.Status(); st.Generation != 1 || st.State != Fresh {
			t.Errorf("status %+v", st)
		}
	})
}
