package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

func TestStartRetriesWhatMayPassUntilTheFirstGoodValue(t *testing.T) {
	for _, passing := range []error{errors.New("connection refused"), fmt.Errorf("sealed: %w", fault.ErrUnavailable)} {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			b.does(func(context.Context) (material, error) {
				if b.count() < 4 {
					return material{}, passing
				}
				return material{name: "a"}, nil
			})
			begun := time.Now()
			s := start(t, b.config())
			// Half of 500 ms, of 1 s and of 2 s.
			if got, want := time.Since(begun), 1750*time.Millisecond; got != want {
				t.Errorf("took %v, want %v", got, want)
			}
			st := s.Status()
			if name(s) != "a" || st.State != Fresh || st.Generation != 1 || st.Failures != 0 || st.LastError != nil {
				t.Errorf("current %q, status %+v", name(s), st)
			}
			if got, want := b.kinds(), []Kind{Failed, Failed, Failed, Changed, Recovered}; !slices.Equal(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
		})
	}
}

func TestStartFailsAtOnceOnWhatLasts(t *testing.T) {
	for _, lasting := range []error{
		fault.ErrNotFound, fault.ErrPermission, fault.ErrExpired, fault.ErrConfig, fault.ErrMaterial,
		fault.ErrUnsupported, fault.ErrClosed,
	} {
		t.Run(lasting.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				b.fails(fmt.Errorf("reading ca.pem: %w", lasting))
				begun := time.Now()
				_, err := Start(t.Context(), b.config())
				var pe *fault.ProviderError
				if !errors.Is(err, lasting) || !errors.As(err, &pe) || pe.Role != fault.RoleIdentity || b.count() != 1 {
					t.Errorf("error %v after %d pulls", err, b.count())
				}
				if d := time.Since(begun); d != 0 {
					t.Errorf("took %v", d)
				}
			})
		})
	}
}

func TestStartEndsWithItsContextAndSaysWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.fails(errors.New("no route to host"))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := Start(ctx, b.config())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no route to host") {
			t.Errorf("error %v", err)
		}
		if got := time.Since(begun); got != 10*time.Second {
			t.Errorf("took %v", got)
		}
	})
}

func TestStartRefusesAWrongConfig(t *testing.T) {
	pull := func(context.Context) (int, error) { return 1, nil }
	for name, cfg := range map[string]Config[int]{
		"no pull":          {},
		"negative timeout": {Pull: pull, PullTimeout: -1},
		"negative backoff": {Pull: pull, MinBackoff: -1},
		"jitter over one":  {Pull: pull, Jitter: 1.1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Start(t.Context(), cfg); !errors.Is(err, fault.ErrConfig) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestOptionalStartsWithoutAValueAndGetsItLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.fails(fault.ErrNotFound)
		cfg := b.config()
		cfg.Optional = true
		var changes []string
		cfg.OnChange = func(old, new material) { changes = append(changes, old.name+"→"+new.name) }
		s := start(t, cfg)
		if _, ok := s.Current(); ok || s.Status().State != Empty {
			t.Errorf("has a value: %+v", s.Status())
		}
		b.issues("a", time.Hour, 0)
		settle(time.Minute)
		if name(s) != "a" || !slices.Equal(changes, []string{"→a"}) {
			t.Errorf("current %q, changes %v", name(s), changes)
		}
	})
}

func TestOptionalStillFailsOnAWrongConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.fails(fault.ErrConfig)
		cfg := b.config()
		cfg.Optional = true
		if _, err := Start(t.Context(), cfg); !errors.Is(err, fault.ErrConfig) {
			t.Errorf("error %v", err)
		}
	})
}

func TestRefreshPullsNowAndBringsTheChangeIntoService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		cfg := b.config()
		served := "a"
		cfg.OnChange = func(_, new material) { time.Sleep(time.Second); served = new.name }
		s := start(t, cfg)
		b.issues("b", time.Hour, 0)
		if err := s.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if name(s) != "b" || served != "b" {
			t.Errorf("current %q, in service %q", name(s), served)
		}
		if st := s.Status(); st.Generation != 2 || st.Age != time.Second {
			t.Errorf("status %+v", st)
		}
	})
}

func TestRefreshIsAnsweredByOnePullThatBeganAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		var most, running int
		var mu sync.Mutex
		b.does(func(context.Context) (material, error) {
			mu.Lock()
			running++
			most = max(most, running)
			m := material{name: fmt.Sprint("after ", time.Now().UnixMilli())}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return m, nil
		})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				asked := time.Now().UnixMilli()
				if err := s.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
				var began int64
				if _, err := fmt.Sscanf(name(s), "after %d", &began); err != nil || began < asked {
					t.Errorf("asked at %d and given what was true at %d", asked, began)
				}
			})
		}
		wg.Wait()
		if b.count() != 3 || most != 1 { // the start, that of the first caller, and one for the 99 that came during it
			t.Errorf("%d pulls, %d at once", b.count(), most)
		}
	})
}

func TestRefreshReturnsTheFailureAndKeepsTheLastGoodValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		b.fails(fault.ErrPermission)
		if err := s.Refresh(t.Context()); !errors.Is(err, fault.ErrPermission) {
			t.Errorf("error %v", err)
		}
		if st := s.Status(); name(s) != "a" || st.State != Failing || !errors.Is(st.LastError, fault.ErrPermission) {
			t.Errorf("current %q, status %+v", name(s), st)
		}
	})
}

func TestRefreshWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		b.does(func(ctx context.Context) (material, error) { <-ctx.Done(); return material{}, ctx.Err() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if err := s.Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}
	})
}

func TestRefreshAfterCloseSaysClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		s.Close()
		s.Close()
		if err := s.Refresh(t.Context()); !errors.Is(err, fault.ErrClosed) {
			t.Errorf("error %v", err)
		}
		if name(s) != "a" || s.Status().State != Closed {
			t.Errorf("current %q, state %v", name(s), s.Status().State)
		}
	})
}

func TestCloseWhilePullingCancelsThePullAndWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		s := start(t, b.config())
		ended := false
		b.does(func(ctx context.Context) (material, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return material{name: "too late"}, nil
		})
		var err error
		done := make(chan struct{})
		go func() { defer close(done); err = s.Refresh(context.Background()) }()
		synctest.Wait()
		b.kinds()
		s.Close()
		if !ended {
			t.Error("Close did not wait for the pull")
		}
		<-done
		if !errors.Is(err, fault.ErrClosed) || name(s) != "a" || len(b.kinds()) != 0 {
			t.Errorf("Refresh: %v, current %q", err, name(s))
		}
	})
}

func TestCloseLeavesBehindWhatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.issues("a", time.Hour, 0)
		cfg := b.config()
		release := make(chan struct{})
		defer close(release)
		cfg.Watch = func(context.Context, func()) error { <-release; return nil }
		s := start(t, cfg)
		b.does(func(context.Context) (material, error) { <-release; return material{}, nil })
		go s.Refresh(context.Background())
		synctest.Wait()
		begun := time.Now()
		s.Close()
		if got := time.Since(begun); got != 2*closeGrace {
			t.Errorf("Close took %v", got)
		}
	})
}
