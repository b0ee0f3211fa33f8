package rotate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Source holds one piece of material and keeps it fresh until Close. Its methods are safe for concurrent
// use.
type Source[T any] struct {
	cfg    Config[T]
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	kick   chan struct{} // Refresh wants a pull
	wakes  chan struct{} // Watch saw a change
	loop   chan struct{} // closed when run has returned
	watch  chan struct{} // closed when Watch has returned for good

	eventMu sync.Mutex // serialises OnEvent

	mu     sync.Mutex
	state  state[T]
	flight *flight // what the callers of Refresh wait for; nil if there are none
}

// A flight is one pull that any number of callers wait for.
type flight struct {
	done chan struct{}
	err  error
}

// Start pulls until the first good value and returns a Source that keeps it fresh. The caller closes it.
//
// A failure that may pass (ErrUnavailable, an unknown error) is retried with backoff until ctx ends; any
// other fails at once. With Optional only one pull is made. ctx bounds Start alone. Errors are
// *fault.ProviderError, or *fault.ConfigError for a wrong Config.
func Start[T any](ctx context.Context, cfg Config[T]) (*Source[T], error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Source[T]{
		cfg:   cfg,
		kick:  make(chan struct{}, 1),
		wakes: make(chan struct{}, 1),
		loop:  make(chan struct{}),
		watch: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.state.watch, s.state.inStep = Polling, true
	if err := s.first(ctx); err != nil {
		s.cancel()
		return nil, err
	}
	if cfg.Watch == nil {
		close(s.watch)
	} else {
		s.state.watch = Watching
		go s.runWatch()
	}
	go s.run()
	return s, nil
}

// first makes the pulls of Start.
func (s *Source[T]) first(ctx context.Context) error {
	for {
		err := s.refresh(ctx, true)
		switch {
		case err == nil:
			return nil
		case s.cfg.Optional && fault.Retryable(err) && ctx.Err() == nil:
			return nil
		case !passing(err):
			return err
		}
		if wait(ctx, time.Until(s.state.next.mono)) != nil {
			return &fault.ProviderError{Role: s.cfg.Role, Op: "pull", Err: fmt.Errorf(
				"%w before the first success; last failure: %w", context.Cause(ctx), bare(err),
			)}
		}
	}
}

// Current returns the material in service, and whether there is any. It never blocks on a pull. Material
// that has expired is returned too; Status says so.
func (s *Source[T]) Current() (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.value, s.state.generation > 0
}

// Refresh pulls, and returns what came of it: nil if the material in service is what the provider had after
// Refresh was called. Callers share a pull, but none joins one that had begun before: its answer may be older
// than what made them ask. OnChange has returned by then. ctx bounds the wait, not the pull. After Close the
// error is ErrClosed.
func (s *Source[T]) Refresh(ctx context.Context) error {
	s.mu.Lock()
	if s.flight == nil {
		s.flight = &flight{done: make(chan struct{})}
	}
	f := s.flight
	s.mu.Unlock()
	poke(s.kick)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.loop:
	}
	select {
	case <-f.done:
		return f.err
	default:
		return fault.ErrClosed
	}
}

// Suspect says that the material may have changed, as Watch would: it is pulled at once, unless that has brought
// nothing lately. It does not wait.
func (s *Source[T]) Suspect() { poke(s.wakes) }

// Close stops pulling and watching and waits until both have stopped. A call of the provider that ignores the
// end of its context is left behind after 5 seconds. Close may be called more than once.
func (s *Source[T]) Close() {
	s.cancel()
	<-s.loop
	select {
	case <-s.watch:
		return
	default:
	}
	t := time.NewTimer(closeGrace)
	defer t.Stop()
	select {
	case <-s.watch:
	case <-t.C:
	}
}

// poke leaves a note in a channel of capacity one; a note that lies there already is as good.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait sleeps for d or until ctx ends, whose error it returns.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
