package sdk

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	maxAhead   = 64              // batches of a stream that may be on their way
	maxStreams = 4               // of one peer; an older one is forgotten
	turnWait   = 2 * time.Second // for the batches before
)

var errOutOfTurn = errors.New("the batches before it did not come")

// A turnstile lets the batches of a stream through in order, although several arrive at once.
type turnstile struct {
	mu    sync.Mutex
	peers map[string][]*batchStream // the latest last
}

type batchStream struct {
	id      uint64
	done    map[uint32]bool
	changed chan struct{}
}

// enter waits until every batch from t.base up to t was answered. leave must follow a nil error.
func (s *turnstile) enter(ctx context.Context, peer string, t turn) error {
	if t == turn0 {
		return nil
	}
	if t.index-t.base > maxAhead {
		return errOutOfTurn
	}
	timeout := time.NewTimer(turnWait)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		b := s.stream(peer, t.stream)
		ready := true
		for i := t.base; i < t.index; i++ {
			ready = ready && b.done[i]
		}
		changed := b.changed
		s.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return errOutOfTurn
		}
	}
}

// leave lets the next batch through.
func (s *turnstile) leave(peer string, t turn) {
	if t == turn0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.stream(peer, t.stream)
	b.done[t.index] = true
	for i := range b.done {
		if i < t.base || i > t.index && i-t.index > maxAhead { // what no batch now on its way asks for
			delete(b.done, i)
		}
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// stream finds or begins a stream. The lock is held.
func (s *turnstile) stream(peer string, id uint64) *batchStream {
	if s.peers == nil {
		s.peers = make(map[string][]*batchStream)
	}
	for _, b := range s.peers[peer] {
		if b.id == id {
			return b
		}
	}
	b := &batchStream{id: id, done: make(map[uint32]bool), changed: make(chan struct{})}
	all := append(s.peers[peer], b)
	if len(all) > maxStreams {
		all = append(all[:0:0], all[1:]...)
	}
	s.peers[peer] = all
	return b
}
