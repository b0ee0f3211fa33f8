package rotate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// state is what a Source knows; Source.mu guards it.
type state[T any] struct {
	value      T
	generation uint64
	since      time.Time
	life       Life
	roll       float64       // of the jitter, in [0, 1)
	shift      time.Duration // what it came to
	overdue    bool          // the source answers material that is past its Refresh
	inStep     bool          // with a fleet, as far as we know; see Config.Poll

	next      instant // of the next pull
	notBefore instant // no pull for Watch before this: RetryAfter
	staleAt   time.Time
	stale     bool // announced
	expired   bool // announced

	attempt   time.Time
	success   time.Time
	failures  int
	err       error
	refused   *T // what Accept refused last, and why
	refusal   string
	abandoned int
	closed    bool

	woken     bool    // Watch saw a change that no pull has answered
	fruitless int     // pulls for Watch in a row that brought nothing
	quiet     instant // no pull for Watch before this

	watch    WatchState
	watchErr error
}

// run pulls when it is time, until Close.
func (s *Source[T]) run() {
	defer close(s.loop)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.state.closed = true
		if s.flight != nil {
			s.flight.err = fault.ErrClosed
			close(s.flight.done)
			s.flight = nil
		}
	}()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		due, d := s.look()
		if due {
			if s.ctx.Err() != nil {
				return
			}
			_ = s.refresh(s.ctx, false)
			continue
		}
		t.Reset(d)
		select {
		case <-s.ctx.Done():
			return
		case <-s.kick:
		case <-s.wakes:
			s.mu.Lock()
			s.state.woken = true
			s.mu.Unlock()
		case <-t.C:
		}
	}
}

// look announces what time alone has changed, and returns whether to pull now or how long to sleep.
func (s *Source[T]) look() (due bool, d time.Duration) {
	s.mu.Lock()
	st, now := &s.state, s.wall()
	d = s.left(st.next)
	if s.flight != nil {
		d = 0
	}
	if st.woken {
		d = min(d, max(s.left(st.quiet), s.left(st.notBefore)))
	}
	var e Event
	if st.generation > 0 && !st.life.Expires.IsZero() {
		if left := st.life.Expires.Sub(now); left > 0 {
			st.expired = false // the wall clock was set back
			d = min(d, left)
		} else if !st.expired {
			st.expired = true
			e = s.event(Expired, s.cause(fmt.Errorf("the material ended at %s: %w", st.life.Expires.UTC().Format(time.RFC3339), fault.ErrExpired)))
		}
	}
	// Not stale before a pull has been tried: a machine that slept may find the source well.
	if st.generation > 0 && !st.staleAt.IsZero() && !st.stale && e.Kind == "" && d > 0 {
		if left := st.staleAt.Sub(now); left > 0 {
			d = min(d, left)
		} else {
			st.stale = true
			e = s.event(Stale, s.cause(fmt.Errorf("due at %s, and the source still answers the same", st.life.Refresh.UTC().Format(time.RFC3339))))
		}
	}
	s.mu.Unlock()
	s.emit(e)
	return d <= 0, min(d, s.cfg.ClockCheck)
}

// cause adds why nothing newer came. The caller holds mu.
func (s *Source[T]) cause(err error) error {
	if s.state.err != nil {
		return fmt.Errorf("%w; last failure: %w", err, bare(s.state.err))
	}
	return err
}

// refresh makes one pull, files what came of it and tells those who wait.
func (s *Source[T]) refresh(ctx context.Context, first bool) error {
	s.mu.Lock()
	f := s.flight // who comes during the pull knows something that it may have missed, and waits for the next
	s.flight = nil
	woken := s.state.woken
	s.state.woken = false
	if s.state.generation > 0 && s.state.failures == 0 && s.left(s.state.next) <= 0 {
		s.state.inStep = false
	}
	s.mu.Unlock()

	value, err := s.pull(ctx)
	if s.ctx.Err() != nil {
		err = fault.ErrClosed
	} else if changed, e := s.judge(value, err, first); true {
		s.paceWatch(woken, changed)
		err = e
	}

	if f != nil {
		f.err = err
		close(f.done)
	}
	return err
}

// judge files the answer to a pull: new material, the same, or a failure.
func (s *Source[T]) judge(value T, err error, first bool) (changed bool, _ error) {
	if err != nil {
		return false, s.failed("pull", err, Failed)
	}
	var life Life
	var same bool
	old, have := s.Current()
	err = guard(func() error {
		life = s.cfg.Life(value)
		same = have && s.cfg.Equal(old, value)
		return nil
	})
	if err != nil {
		return false, s.failed("read", err, Failed)
	}
	if !life.Expires.IsZero() && !life.Expires.After(s.wall()) {
		return false, s.failed("pull", fmt.Errorf("the source answers material that ended at %s: %w",
			life.Expires.UTC().Format(time.RFC3339), fault.ErrExpired), Failed)
	}
	if same {
		if s.cfg.OnSame != nil {
			s.mu.Lock()
			s.state.value = value
			s.mu.Unlock()
			s.cfg.OnSame(value)
		}
		s.succeeded(life, false)
		return false, nil
	}
	if err := guard(func() error { return s.cfg.Accept(old, value) }); err != nil {
		if passing(err) {
			err = fmt.Errorf("%w: %w", fault.ErrMaterial, err)
		}
		return false, s.refuse(value, err)
	}
	s.mu.Lock()
	s.state.value = value
	s.state.generation++
	s.state.since = s.wall()
	s.mu.Unlock()
	if s.cfg.OnChange != nil && !first {
		s.cfg.OnChange(old, value) // before Changed, which says that it is done
	}
	s.succeeded(life, true)
	return true, nil
}

// succeeded files a pull that brought usable material.
func (s *Source[T]) succeeded(life Life, isNew bool) {
	s.mu.Lock()
	st := &s.state
	st.success, st.err, st.refused, st.refusal = s.wall(), nil, nil, ""
	s.plan(life, isNew)
	st.notBefore = instant{}
	recovered := st.failures > 0 || (st.stale || st.expired) && !st.overdue
	st.failures = 0
	st.expired = false
	if !st.overdue {
		st.stale = false
	}
	recovered = recovered && st.generation > 0
	var events []Event
	if isNew {
		events = append(events, s.event(Changed, nil))
	}
	if recovered {
		events = append(events, s.event(Recovered, nil))
	}
	s.mu.Unlock()
	for _, e := range events {
		s.emit(e)
	}
}

// failed files a pull that brought nothing usable.
func (s *Source[T]) failed(op string, err error, kind Kind) error {
	err = s.named(op, err)
	s.mu.Lock()
	st := &s.state
	st.failures++
	st.inStep = true
	st.err = err
	s.backoff(err, st.failures)
	e := s.event(kind, err)
	s.mu.Unlock()
	s.emit(e)
	return err
}

// refuse files material that Accept kept out. The event comes once for the same material and reason.
func (s *Source[T]) refuse(value T, err error) error {
	s.mu.Lock()
	st := &s.state
	seen := false
	if st.refused != nil && st.refusal == err.Error() {
		_ = guard(func() error { seen = s.cfg.Equal(*st.refused, value); return nil })
	}
	st.refused, st.refusal = &value, err.Error()
	s.mu.Unlock()
	kind := Refused
	if seen {
		kind = ""
	}
	return s.failed("accept", err, kind)
}

// paceWatch sets how soon the next change that Watch sees may lead to a pull.
func (s *Source[T]) paceWatch(woken, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.state
	switch {
	case !woken:
		return
	case changed || s.left(st.quiet) < -maxWake:
		st.fruitless = 0
	default:
		st.fruitless++
	}
	st.quiet = s.in(min(minWake<<min(st.fruitless, 10), maxWake))
}

// event makes an event of what is in service. The caller holds mu.
func (s *Source[T]) event(kind Kind, err error) Event {
	return Event{
		Kind: kind, Role: s.cfg.Role, Time: s.wall(), Generation: s.state.generation, Err: err,
		Failures: s.state.failures, Next: s.state.next.wall, Expires: s.state.life.Expires,
	}
}

// emit hands on an event, if it is one.
func (s *Source[T]) emit(e Event) {
	if e.Kind == "" || s.cfg.OnEvent == nil {
		return
	}
	s.eventMu.Lock()
	defer s.eventMu.Unlock()
	s.cfg.OnEvent(e)
}

// named says which provider failed at what, unless the error does so itself.
func (s *Source[T]) named(op string, err error) error {
	var pe *fault.ProviderError
	if errors.As(err, &pe) && pe.Role == s.cfg.Role {
		return err
	}
	named := &fault.ProviderError{Role: s.cfg.Role, Op: op, Err: err}
	if pe != nil {
		named.RetryAfter = pe.RetryAfter
	}
	return named
}

// bare takes our own name off an error that is about to get it again.
func bare(err error) error {
	if pe, ok := err.(*fault.ProviderError); ok {
		return pe.Err
	}
	return err
}

// Status returns what is known now.
func (s *Source[T]) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, now := &s.state, s.wall()
	out := Status{
		Role: s.cfg.Role, Generation: st.generation, Since: st.since,
		LastAttempt: st.attempt, LastSuccess: st.success, LastError: st.err, Failures: st.failures,
		Next: st.next.wall, Abandoned: st.abandoned, Watch: st.watch, WatchError: st.watchErr,
	}
	if st.generation > 0 {
		out.Age = now.Sub(st.since)
		out.Expires = st.life.Expires
	}
	switch {
	case st.closed:
		out.State = Closed
	case st.generation == 0:
		out.State = Empty
	case !out.Expires.IsZero() && !now.Before(out.Expires):
		out.State = Ended
	case st.stale:
		out.State = Old
	case st.failures > 0:
		out.State = Failing
	default:
		out.State = Fresh
	}
	return out
}
