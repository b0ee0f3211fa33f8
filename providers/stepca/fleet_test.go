package stepca

import (
	"context"
	"crypto"
	"crypto/x509"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/internal/rotate"
)

// A registry stands in for the CA in a fleet of a thousand on a simulated clock, where no socket works: what is measured is
// when nodes come, which certFlow and rotate decide.
type registry struct {
	mu      sync.Mutex
	life    time.Duration
	down    bool
	serial  int64
	enrols  int
	renewed map[int64]int // by second
}

func (r *registry) issue() ([]*x509.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, fault.ErrUnavailable
	}
	r.serial++
	now := time.Now().Truncate(time.Second)
	return []*x509.Certificate{{SerialNumber: big.NewInt(r.serial), NotBefore: now, NotAfter: now.Add(r.life)}}, nil
}

func (r *registry) enrol(context.Context, crypto.Signer) ([]*x509.Certificate, error) {
	r.mu.Lock()
	r.enrols++
	r.mu.Unlock()
	return r.issue()
}

func (r *registry) renew(context.Context, *held, crypto.Signer) ([]*x509.Certificate, error) {
	chain, err := r.issue()
	if err == nil {
		r.mu.Lock()
		r.renewed[time.Now().Unix()]++
		r.mu.Unlock()
	}
	return chain, err
}

func (r *registry) renewExpired(ctx context.Context, h *held) ([]*x509.Certificate, error) {
	return r.renew(ctx, h, nil)
}

func (r *registry) check(_ context.Context, chain []*x509.Certificate, _ crypto.PublicKey) ([]*x509.Certificate, error) {
	return chain, nil
}

func (r *registry) set(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.renewed = down, map[int64]int{}
}

// spread reports how many renewals there were, and the most in one second against the mean over window.
func (r *registry) spread(t *testing.T, what string, window time.Duration) (all, most int, mean float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.renewed {
		all += n
		most = max(most, n)
	}
	mean = float64(all) / window.Seconds()
	t.Logf("%s: %d renewals in %v, mean %.2f a second, largest second %d (%.2f times the mean)", what, all, window, mean, most, float64(most)/mean)
	return all, most, mean
}

func TestAFleetOfAThousandSpreadsItsRenewals(t *testing.T) {
	const nodes = 1000
	for name, tc := range map[string]struct {
		life, window time.Duration
	}{
		"certificates of 15 min": {15 * time.Minute, time.Minute},    // due at 10 min, spread over a tenth of that
		"certificates of 24 h":   {24 * time.Hour, 96 * time.Minute}, // due at 16 h
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &registry{life: tc.life}
				r.set(false)
				for i := range nodes {
					f := &certFlow{c: &Client{now: time.Now, log: hclog.NewNullLogger()}, cfg: IdentityConfig{Enrolment: JWK{}}, authority: r, gate: make(chan struct{}, 1)}
					type answer struct {
						h    *held
						next time.Time
					}
					s, err := rotate.Start(t.Context(), rotate.Config[answer]{
						Role: fault.RoleIdentity,
						Pull: func(ctx context.Context) (answer, error) {
							h, wait, err := f.current(ctx)
							return answer{h, time.Now().Add(wait)}, err
						},
						Equal:      func(a, b answer) bool { return a.h == b.h },
						Life:       func(a answer) rotate.Life { return rotate.Life{Refresh: a.next, Expires: a.h.leaf().NotAfter} },
						Rand:       rand.New(rand.NewPCG(uint64(i), 0)).Float64,
						ClockCheck: time.Hour,
					})
					must(t, err)
					defer s.Close()
				}
				due := tc.life * 2 / 3
				time.Sleep(due + tc.window)
				synctest.Wait()
				check := func(what string, window time.Duration, least int) {
					t.Helper()
					all, most, mean := r.spread(t, what, window)
					if all < least {
						t.Errorf("%s: %d renewals, want %d at least", what, all, least)
					}
					// Below ten in a second chance alone makes more than three times the mean, of a load that is none.
					if float64(most) > 3*max(mean, 10) {
						t.Errorf("%s: %d in one second is over three times the mean of %.1f", what, most, mean)
					}
				}
				check("first renewal", tc.window, nodes)

				// The CA is away for an hour from when the next renewals begin. Whoever was due in it comes in the first
				// minute after it, spread over that.
				time.Sleep(due - tc.window)
				r.set(true)
				time.Sleep(time.Hour)
				synctest.Wait()
				r.set(false)
				time.Sleep(time.Minute)
				synctest.Wait()
				check("the minute after an outage of an hour", time.Minute, nodes/20)
				time.Sleep(2 * tc.window)
				synctest.Wait()
				if all, _, _ := r.spread(t, "until all are renewed", time.Minute+2*tc.window); all < nodes {
					t.Errorf("%d of %d renewed after the outage", all, nodes)
				}
				if r.enrols != nodes {
					t.Errorf("%d enrolments, want %d: none of them again", r.enrols, nodes)
				}
			})
		})
	}
}
