package bolt

import (
	"context"
	"fmt"
	"runtime"

	"go.etcd.io/bbolt"

	"github.com/alphaonedev/federation/sdk/outbox"
)

// A write is one change that waits for a commit.
type write struct {
	apply func(*bbolt.Tx, func(string, counts)) error
	done  chan error // of capacity 1: the committer never waits
}

// maxGroup bounds how many writes share a commit, so that the first is not kept waiting by a flood.
const maxGroup = 1024

// commit runs apply in a transaction that it may share with others and returns when that is on the disk. add
// notes a change of the counts; it takes effect at once, and is undone if the commit fails. The context
// bounds the wait alone: a write that has been handed over is made all the same.
func (s *Store) commit(ctx context.Context, apply func(*bbolt.Tx, func(string, counts)) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &write{apply: apply, done: make(chan error, 1)}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return fmt.Errorf("outbox: %w", outbox.ErrClosed)
	}
	select {
	case s.writes <- w:
		s.mu.RUnlock()
	case <-ctx.Done():
		s.mu.RUnlock()
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// committer owns all writing. While one commit is on its way to the disk the next group gathers.
func (s *Store) committer() {
	defer close(s.done)
	group := make([]*write, 0, maxGroup)
	for w := range s.writes {
		group = append(group[:0], w)
		// Those whom the last commit has just answered may be about to write again: give way to them a few
		// times, which costs nothing when nobody is there.
		for idle := 0; idle < 3 && len(group) < maxGroup; {
			select {
			case w, ok := <-s.writes:
				if !ok {
					idle = 3
					break
				}
				group = append(group, w)
				idle = 0
			default:
				runtime.Gosched()
				idle++
			}
		}
		s.commitAll(group)
		clear(group)
	}
}

// commitAll commits writes together if they can be, else in halves, so that one which fails, or is too large for what
// is left of the disk, takes no other with it. Each is told what became of it.
func (s *Store) commitAll(group []*write) {
	err := s.commitGroup(group)
	if half := len(group) / 2; err != nil && half > 0 {
		s.commitAll(group[:half])
		s.commitAll(group[half:])
		return
	}
	for _, w := range group {
		w.done <- err
	}
}

func (s *Store) commitGroup(group []*write) error {
	type change struct {
		peer string
		d    counts
	}
	var changes []change
	note := func(peer string, d counts) {
		s.add(peer, d)
		changes = append(changes, change{peer, d})
	}
	err := guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			for _, w := range group {
				if err := w.apply(tx, note); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		for _, c := range changes {
			s.add(c.peer, counts{-c.d.depth, -c.d.quarantine, -c.d.bytes})
		}
		return fmt.Errorf("outbox: commit: %w", closedErr(err))
	}
	return nil
}
