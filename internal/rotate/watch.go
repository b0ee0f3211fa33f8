package rotate

import (
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// settled is how long a Watch must have run for its end to have hidden a change. A pull at that time covers
// what changed while it was being set up.
const settled = time.Second

var errWatchEnded = fmt.Errorf("watch ended early: %w", fault.ErrUnavailable)

// runWatch keeps Watch running until Close, or until it says that it is unsupported.
func (s *Source[T]) runWatch() {
	defer close(s.watch)
	wake := func() { poke(s.wakes) }
	for failures := 0; ; {
		begun := time.Now()
		cover := time.AfterFunc(settled, wake)
		err := guard(func() error { return s.cfg.Watch(s.ctx, wake) })
		cover.Stop()
		switch {
		case s.ctx.Err() != nil:
			return
		case errors.Is(err, fault.ErrUnsupported):
			s.setWatch(Polling, nil)
			return
		case err == nil:
			err = errWatchEnded
		}
		ran := time.Since(begun)
		if ran >= settled {
			wake()
		}
		if ran >= s.cfg.MaxBackoff {
			failures = 0
		}
		failures++
		err = s.named("watch", err)
		s.setWatch(Waiting, err)
		if failures == 1 {
			s.mu.Lock()
			e := s.event(WatchLost, err)
			s.mu.Unlock()
			s.emit(e)
		}
		if wait(s.ctx, s.rest(err, failures)) != nil {
			return
		}
		s.setWatch(Watching, err)
	}
}

func (s *Source[T]) setWatch(w WatchState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.watch, s.state.watchErr = w, err
}
