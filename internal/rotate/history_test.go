package rotate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A source that does anything at all for hours never makes the engine spin, hang, call it too often at once, or
// serve what it did not issue or what was refused.
func TestAnyHistoryOfASourceLeavesTheEngineSound(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { history(t, seed) }) })
	}
}

func history(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	var b backend
	var running, most, calls atomic.Int32
	release := make(chan struct{})
	serial := 0
	cfg := b.config()
	cfg.MaxBackoff = time.Duration(1+random.IntN(120)) * time.Second
	cfg.Rand = rand.Float64
	cfg.Accept = func(_, m material) error {
		if strings.HasPrefix(m.name, "bad") {
			return errors.New("refused")
		}
		return nil
	}
	cfg.Pull = func(ctx context.Context) (material, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		calls.Add(1)
		b.mu.Lock()
		dice, life := random.IntN(12), time.Duration(1+random.IntN(3600))*time.Second
		if random.IntN(3) == 0 {
			serial++
		}
		m := material{fmt.Sprint("good ", serial), Life{Refresh: time.Now().Add(life / 2).Add(b.asleep), Expires: time.Now().Add(life).Add(b.asleep)}}
		b.mu.Unlock()
		switch dice {
		case 0:
			return material{}, fault.ErrPermission
		case 1:
			return material{}, &fault.ProviderError{Role: fault.RoleIdentity, Op: "x", Err: fault.ErrUnavailable, RetryAfter: life}
		case 2:
			panic(m)
		case 3:
			<-ctx.Done()
			return material{}, ctx.Err()
		case 4:
			if life%(10*time.Second) == 0 {
				<-release // forever
			}
			time.Sleep(life / 10) // without regard for ctx
			return m, nil
		case 5:
			m.name = "bad " + m.name
			return m, nil
		case 6:
			m.life.Expires = b.now().Add(-life)
			m.name = "old"
			return m, nil
		case 7:
			return material{}, errors.New("garbage")
		}
		return m, nil
	}
	cfg.Watch = func(ctx context.Context, changed func()) error {
		for {
			b.mu.Lock()
			n, pause := random.IntN(50), time.Duration(random.IntN(1e9*100))
			b.mu.Unlock()
			for range n {
				changed()
				if wait(ctx, time.Millisecond) != nil {
					return nil
				}
			}
			if wait(ctx, pause) != nil {
				return nil
			}
			switch n {
			case 1:
				return errors.New("lost")
			case 2:
				panic("lost")
			}
		}
	}
	cfg.Optional = true
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var generation uint64
	for range 200 {
		b.mu.Lock()
		pause, dice := time.Duration(random.IntN(1e9*120)), random.IntN(10)
		b.mu.Unlock()
		settle(pause)
		switch dice {
		case 0:
			b.sleep(time.Duration(pause) * 50)
		case 1:
			b.sleep(-time.Duration(pause))
		case 2:
			ctx, cancel := context.WithTimeout(t.Context(), pause)
			_ = s.Refresh(ctx)
			cancel()
		}
		m, ok := s.Current()
		st := s.Status()
		if ok && !strings.HasPrefix(m.name, "good") || ok != (st.Generation > 0) || st.Generation < generation {
			t.Fatalf("serves %q, status %+v", m.name, st)
		}
		generation = st.Generation
		if (st.LastError == nil) != (st.Failures == 0) || st.Abandoned < 0 || st.Abandoned > cfg.MaxAbandoned+3 {
			t.Fatalf("status %+v", st)
		}
	}
	if got := most.Load(); got > 4 {
		t.Errorf("%d calls at once", got)
	}
	// 200 minutes at most, a pull for Watch every 100 ms at worst and mostly every 5 s.
	if got := calls.Load(); got < 20 || got > 12000 {
		t.Errorf("%d calls", got)
	}
	begun := time.Now()
	s.Close()
	if took := time.Since(begun); took > 2*closeGrace {
		t.Errorf("Close took %v", took)
	}
	if s.Status().State != Closed {
		t.Errorf("state %v", s.Status().State)
	}
	close(release)
	time.Sleep(10 * time.Minute)
	if n := running.Load(); n != 0 {
		t.Errorf("%d calls still run", n)
	}
}
