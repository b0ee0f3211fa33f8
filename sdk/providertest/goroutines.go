package providertest

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

// goroutines uses a provider in all ways, lets its clean-ups run, and looks for what is left.
func (s *suite[P, V]) goroutines(t tb) {
	before := goroutineIDs()
	used := t.run("Use", func(t tb) {
		p := s.h.New(t)
		s.must(t, p)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		if w, ok := any(p).(sdk.Watcher); ok {
			go func() { defer close(ended); _ = w.Watch(ctx, func() {}) }()
		} else {
			close(ended)
		}
		if s.h.Rotate != nil {
			s.h.Rotate(t)
			s.must(t, p)
		}
		cancel()
		_, _ = s.pull(ctx, t, p)
		select {
		case <-ended:
		case <-time.After(s.h.Timeout):
			t.Fatalf("Watch has not returned %v after its context ended", s.h.Timeout)
		}
	})
	if !used {
		return
	}
	var left []string
	for deadline := time.Now().Add(min(s.h.Timeout, 10*time.Second)); ; time.Sleep(10 * time.Millisecond) {
		left = goroutinesSince(before, s.h.IgnoreGoroutine)
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, stack := range left {
		t.Errorf("the provider left a goroutine:\n%s", stack)
	}
}

// stacks returns the stack of every goroutine but the caller's, by id.
func stacks() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	for i, stack := range strings.Split(string(buf), "\n\n") {
		id, _, ok := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		if i > 0 && ok { // the first is the caller
			all[id] = stack
		}
	}
	return all
}

func goroutineIDs() map[string]bool {
	ids := map[string]bool{}
	for id := range stacks() {
		ids[id] = true
	}
	return ids
}

// goroutinesSince returns the stacks of goroutines that are not in before, without those of the runtime and of
// package testing.
func goroutinesSince(before map[string]bool, ignore func(string) bool) []string {
	var left []string
	for id, stack := range stacks() {
		switch {
		case before[id],
			strings.Contains(stack, "created by runtime."),
			strings.Contains(stack, "created by testing."),
			strings.Contains(stack, "created by os/signal."),
			ignore != nil && ignore(stack):
		default:
			left = append(left, stack)
		}
	}
	return left
}
