package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// traffic is notes being written, one after the other and at most one every 20 ms, from start to stop.
type traffic struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	writes   int
	failures []string
}

func startTraffic(ctx context.Context, n *node) *traffic {
	t := &traffic{}
	ticking, cancel := context.WithCancel(ctx)
	t.cancel = cancel
	t.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ticking.Done():
				return
			case <-tick.C:
			}
			t.write(ctx, n)
		}
	})
	return t
}

func (t *traffic) write(ctx context.Context, n *node) {
	_, err := n.write(ctx, fmt.Sprintf("a note of %v", time.Now()))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes++
	if err != nil {
		t.failures = append(t.failures, err.Error())
	}
}

// stop ends the traffic and waits for what is under way. It may be called twice.
func (t *traffic) stop() {
	t.cancel()
	t.done.Wait()
}
