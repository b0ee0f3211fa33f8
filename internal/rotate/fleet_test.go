package rotate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	nodes   = 1000
	refresh = 5 * time.Minute  // of certificates that live for 15
	window  = 30 * time.Second // a tenth of that: over which due times are spread
)

// authority renews for a fleet and counts what it is asked in each second.
type authority struct {
	mu       sync.Mutex
	down     bool
	renewals map[int64]int // successful, by second
	asked    map[int64]int // all, by second
	serial   int
}

func (a *authority) pull(context.Context) (material, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[time.Now().Unix()]++
	if a.down {
		return material{}, fault.ErrUnavailable
	}
	a.renewals[time.Now().Unix()]++
	a.serial++
	now := time.Now()
	return material{fmt.Sprint(a.serial), Life{Refresh: now.Add(refresh), Expires: now.Add(15 * time.Minute)}}, nil
}

func (a *authority) set(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
	a.renewals, a.asked = map[int64]int{}, map[int64]int{}
}

func total(bySecond map[int64]int) (n int) {
	for _, k := range bySecond {
		n += k
	}
	return n
}

// spread checks that no second has more than three times the mean over the window in which all can come.
func spread(t *testing.T, what string, bySecond map[int64]int, window time.Duration) {
	t.Helper()
	most := 0
	for _, n := range bySecond {
		most = max(most, n)
	}
	mean := float64(total(bySecond)) / window.Seconds()
	t.Logf("%s: %d, %.1f a second over %v, at most %d in one", what, total(bySecond), mean, window, most)
	if total(bySecond) < nodes*9/10 || float64(most) > 3*mean {
		t.Errorf("%s: %d in one second, over three times the mean, or too few at all", what, most)
	}
}

// A thousand nodes that started in the same second renew spread out: the first time, the next, and when the
// authority has been away for an hour.
func TestAFleetSpreadsItsRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a authority
		a.set(false)
		for i := range nodes {
			s, err := Start(t.Context(), Config[material]{
				Role:       fault.RoleIdentity,
				Pull:       a.pull,
				Life:       func(m material) Life { return m.life },
				Rand:       rand.New(rand.NewPCG(uint64(i), 0)).Float64,
				ClockCheck: time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}

		a.set(false)
		settle(refresh + window)
		spread(t, "first renewal", a.renewals, window)

		a.set(false)
		settle(refresh + window)
		spread(t, "second renewal", a.renewals, 2*window)

		a.set(true)
		settle(time.Hour)
		lately := map[int64]int{}
		for second, n := range a.asked {
			if time.Now().Unix()-second < 600 {
				lately[second] = n
			}
		}
		spread(t, "attempts in an outage", lately, 10*time.Minute)

		a.set(false)
		settle(time.Minute)
		spread(t, "renewals after the outage", a.renewals, time.Minute)
		if total(a.renewals) != nodes {
			t.Errorf("%d nodes recovered within a minute", total(a.renewals))
		}

		a.set(false)
		settle(refresh + window + time.Minute)
		spread(t, "renewal after that", a.renewals, window+time.Minute)
	})
}

// A thousand nodes that started in the same second, and poll every minute, do so spread out from the first time on,
// and after an outage too.
func TestAFleetSpreadsItsPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a authority
		a.set(false)
		for i := range nodes {
			s, err := Start(t.Context(), Config[material]{
				Role: fault.RoleTrust,
				Poll: true,
				Pull: func(ctx context.Context) (material, error) {
					m, err := a.pull(ctx)
					m.life = Life{Refresh: time.Now().Add(time.Minute), Expires: time.Now().AddDate(10, 0, 0)}
					return m, err
				},
				Equal:      func(_, _ material) bool { return true },
				Life:       func(m material) Life { return m.life },
				Rand:       rand.New(rand.NewPCG(uint64(i), 0)).Float64,
				ClockCheck: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
		rest := func(what string) {
			t.Helper()
			a.set(false)
			settle(10 * time.Minute)
			spread(t, what, a.renewals, 10*time.Minute)
		}
		rest("from the start")
		a.set(true)
		settle(10 * time.Minute)
		a.set(false)
		settle(time.Minute)
		rest("after an outage")
	})
}
