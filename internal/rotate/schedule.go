package rotate

import (
	"errors"
	"math"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	defaultRefresh = 5 * time.Minute
	longest        = 1 << 60 * time.Nanosecond // 36 years, so that sums do not overflow
	minRefresh     = 100 * time.Millisecond    // between two pulls that material asks for by its life
	minOverdue     = time.Second               // between two pulls of material that is due and does not change
	maxRetryAfter  = time.Hour                 // the longest wish of a backend that is honoured
	slowFactor     = 5                         // how much longer errors wait that somebody has to cure
	minWake        = 100 * time.Millisecond    // between two pulls for Watch, doubled while they bring nothing
	maxWake        = 5 * time.Second
)

// An instant is a time on both clocks. It has come when either says so: the monotonic clock stands still
// while a machine sleeps, and the wall clock may be set back.
type instant struct{ wall, mono time.Time }

// wall reads the wall clock, without a monotonic reading.
func (s *Source[T]) wall() time.Time { return s.cfg.Now().Round(0) }

// in returns the instant d from now.
func (s *Source[T]) in(d time.Duration) instant {
	return instant{s.wall().Add(d), time.Now().Add(d)}
}

// left is how long i has to wait yet; it has come if that is not positive.
func (s *Source[T]) left(i instant) time.Duration {
	return min(i.wall.Sub(s.wall()), time.Until(i.mono))
}

// plan sets when material with this life is pulled again and when it is stale. For new material it rolls the
// jitter; the same material keeps it, so that polling does not gather what was spread. The first time that polled
// material is due is anywhere up to then. The caller holds mu.
func (s *Source[T]) plan(life Life, isNew bool) {
	st, now := &s.state, s.wall()
	if life.Refresh.IsZero() {
		life.Refresh = now.Add(defaultRefresh)
	}
	rest := time.Duration(math.MaxInt64)
	if !life.Expires.IsZero() {
		rest = life.Expires.Sub(now)
	}
	interval := min(life.Refresh.Sub(now), longest)
	clamped := interval >= rest
	if clamped { // asked for after its end
		interval = rest / 3 * 2
	}
	if isNew {
		st.roll, st.shift, st.staleAt = s.cfg.Rand(), 0, time.Time{}
	}

	due := interval
	if isNew || !life.Refresh.Equal(st.life.Refresh) || clamped {
		st.shift = time.Duration(st.roll * min(s.cfg.Jitter*float64(max(interval, 0)), float64(rest-interval)/2))
	}
	due += st.shift
	if due <= 0 && life.Refresh.After(st.attempt) { // it came due while it was being pulled and judged
		due = minRefresh
	}
	st.life = life

	if due > 0 {
		if s.cfg.Poll && st.inStep {
			due = time.Duration(s.cfg.Rand() * float64(due))
		}
		due = max(due, minRefresh)
		st.overdue = false
		st.staleAt = now.Add(due + max(min(interval, (rest-due)/2), 0))
		st.next = s.in(due)
		return
	}
	// The source still answers what it should have replaced: look again, more often as the end nears.
	st.overdue = true
	again := max(min(defaultRefresh, rest/10), minOverdue)
	if st.staleAt.IsZero() {
		st.staleAt = now.Add(min(defaultRefresh, rest/2))
	}
	st.next = s.in(time.Duration(float64(again) * (1 + s.cfg.Jitter*st.roll)))
}

// backoff sets when to pull after the given number of failures in a row. The caller holds mu.
func (s *Source[T]) backoff(err error, failures int) {
	s.state.notBefore = instant{}
	if asked := retryAfter(err); asked > 0 {
		s.state.notBefore = s.in(asked)
	}
	s.state.next = s.in(s.rest(err, failures))
}

// rest is how long to wait after failures in a row, the last one being err: what the source asked for, and
// full jitter, so that a fleet that failed together does not come back together.
func (s *Source[T]) rest(err error, failures int) time.Duration {
	ceiling, base := s.cfg.MaxBackoff, s.cfg.MinBackoff
	if slow(err) {
		ceiling, base = ceiling*slowFactor, base*slowFactor
	}
	if n := min(failures-1, 62); base<<n>>n == base {
		ceiling = min(ceiling, base<<n)
	}
	d := time.Duration(s.cfg.Rand() * float64(ceiling))
	return retryAfter(err) + max(d, s.cfg.MinBackoff/10) // full jitter may roll nearly nothing
}

// retryAfter is the wait that the source asked for, no longer than it may.
func retryAfter(err error) time.Duration {
	var pe *fault.ProviderError
	if !errors.As(err, &pe) {
		return 0
	}
	return min(max(pe.RetryAfter, 0), maxRetryAfter)
}

// slow reports an error that time alone does not cure.
func slow(err error) bool {
	return errors.Is(err, fault.ErrPermission) || !fault.Retryable(err)
}

// passing reports a failure that time may cure: ErrUnavailable, or none of the sentinels.
func passing(err error) bool {
	for _, lasting := range []error{
		fault.ErrNotFound, fault.ErrPermission, fault.ErrExpired, fault.ErrConfig, fault.ErrMaterial,
		fault.ErrUnsupported, fault.ErrClosed,
	} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return true
}
