package rotate

import (
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// FuzzLife plans material with any life that a provider may state, new and again, and holds that the next pull
// is neither at once nor after the end, and that jitter only delays.
func FuzzLife(f *testing.F) {
	f.Add(int64(16*time.Hour), int64(24*time.Hour), 0.5, 0.1, int64(time.Hour))
	f.Add(int64(-1), int64(1), 0.999, 1.0, int64(1))
	f.Add(int64(1)<<62, int64(1)<<62, 0.0, 0.1, int64(1)<<60)
	f.Add(int64(0), int64(0), 0.3, 0.1, int64(-time.Hour))
	f.Fuzz(func(t *testing.T, refresh, expires int64, roll, jitter float64, later int64) {
		if !(roll >= 0 && roll < 1 && jitter >= 0 && jitter <= 1) {
			t.Skip()
		}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		s := &Source[int]{cfg: Config[int]{
			Pull: nil, Jitter: jitter, MinBackoff: time.Second, MaxBackoff: time.Minute, Role: fault.RoleTrust,
			Now:  func() time.Time { return now },
			Rand: func() float64 { return roll },
		}}
		life := Life{Refresh: now.Add(time.Duration(refresh))}
		if expires > 0 {
			life.Expires = now.Add(time.Duration(expires))
		}
		for _, isNew := range []bool{true, false, false} {
			if !life.Expires.IsZero() && !life.Expires.After(now) {
				return // judge refuses it
			}
			s.plan(life, isNew)
			st := &s.state
			next := st.next.wall.Sub(now)
			if next < minRefresh {
				t.Fatalf("asked again after %v", next)
			}
			rest := life.Expires.Sub(now)
			if !life.Expires.IsZero() && rest > 2*time.Second && next >= rest {
				t.Fatalf("asked again after %v, the end comes after %v", next, rest)
			}
			wish := life.Refresh.Sub(now)
			if !st.overdue && wish < longest && (life.Expires.IsZero() || wish < rest) && next < wish {
				t.Fatalf("asked again after %v, before the wish of %v", next, wish)
			}
			if st.staleAt.IsZero() || !st.overdue && st.staleAt.Before(st.next.wall) {
				t.Fatalf("stale at %v, next pull at %v", st.staleAt, st.next.wall)
			}
			now = now.Add(time.Duration(max(later, 0)) % (1000 * time.Hour))
		}
	})
}
