package rotate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	pullGrace  = time.Second     // from the end of a pull's context to its being abandoned
	closeGrace = 5 * time.Second // the same after Close
)

// A PanicError is a panic in a provider. It matches ErrMaterial.
type PanicError struct {
	Reason string // the runtime's message, or the type of the value: a value may hold a secret
	Stack  []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string { return "the provider panicked: " + e.Reason }

// Unwrap makes a PanicError match ErrMaterial.
func (e *PanicError) Unwrap() error { return fault.ErrMaterial }

// guard runs f and turns a panic into an error.
func guard(f func() error) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		r := recover()
		reason := fmt.Sprintf("a value of type %T", r)
		if e, ok := r.(runtime.Error); ok {
			reason = e.Error()
		}
		err = &PanicError{Reason: reason, Stack: debug.Stack()}
	}()
	err = f()
	returned = true
	return err
}

type answer[T any] struct {
	value T
	err   error
}

// pull calls Pull once, for no longer than PullTimeout and a second.
func (s *Source[T]) pull(ctx context.Context) (T, error) {
	var none T
	s.mu.Lock()
	s.state.attempt = s.wall()
	hanging := s.state.abandoned
	s.mu.Unlock()
	if hanging >= s.cfg.MaxAbandoned {
		return none, fmt.Errorf("%d earlier calls still hang, no further one is made: %w", hanging, fault.ErrUnavailable)
	}

	limit := s.cfg.PullTimeout
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(end), 0))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()

	c := make(chan answer[T], 1)
	left := false // under mu: nobody waits for the answer any more
	go func() {
		a := answer[T]{err: &PanicError{Reason: "it ended the goroutine"}}
		defer func() { // runs after runtime.Goexit, too
			c <- a
			s.mu.Lock()
			defer s.mu.Unlock()
			if left {
				s.state.abandoned--
			}
		}()
		a.err = guard(func() (err error) { a.value, err = s.cfg.Pull(ctx); return err })
	}()

	select {
	case a := <-c:
		return a.value, explain(ctx, a.err, limit)
	case <-ctx.Done():
	}
	grace := pullGrace
	if s.ctx.Err() != nil {
		grace = closeGrace
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case a := <-c:
		return a.value, explain(ctx, a.err, limit)
	case <-t.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case a := <-c:
		return a.value, explain(ctx, a.err, limit)
	default:
	}
	s.state.abandoned++
	left = true
	return none, fmt.Errorf("%w, and the call did not end with its context", explain(ctx, context.Cause(ctx), limit))
}

// explain says that it was our own limit, or that of whoever waits for the first value, that ended a call.
func explain(ctx context.Context, err error, limit time.Duration) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w: %w", limit.Round(time.Millisecond), fault.ErrUnavailable, err)
	}
	return err
}
