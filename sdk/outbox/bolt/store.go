package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/alphaonedev/federation/sdk/outbox"
)

var (
	// ErrLocked: another process, or another Store of this one, holds the file.
	ErrLocked = errors.New("outbox file is in use")
	// ErrFormat: the file is not an outbox, or was written by a later version. It is left as it is.
	ErrFormat = errors.New("outbox file has a format that this version does not read")
	// ErrCorrupt: the file is damaged.
	ErrCorrupt = errors.New("outbox file is damaged")
)

// Options are the options of Open. The zero value is good.
type Options struct {
	// Limits bound the queue of each peer; zero fields are the defaults.
	Limits outbox.Limits
	// LockTimeout is how long Open waits for another process to let go of the file. Default 1 s.
	LockTimeout time.Duration
	// OnCorrupt is called when Open has moved a damaged file to kept and begins a new one. Default: the
	// logger's error level says so.
	OnCorrupt func(kept string, err error)
	// Logger; nil means silent.
	Logger hclog.Logger
}

// A Store is a durable outbox.Store. It is safe for concurrent use.
type Store struct {
	db     *bbolt.DB
	limits outbox.Limits

	mu      sync.RWMutex // guards closing the channel against sends
	closed  bool
	writes  chan *write
	done    chan struct{} // closed when the committer has ended
	counted sync.Mutex
	counts  map[string]*counts
}

// counts mirror the file, so that limits and Stats cost no read.
type counts struct {
	depth, quarantine int
	bytes             int64
}

var (
	_ outbox.Store   = (*Store)(nil)
	_ outbox.Limiter = (*Store)(nil)
)

// Limits returns the limits in force.
func (s *Store) Limits() outbox.Limits { return s.limits }

// Close ends the store: what is being written is committed, what comes later gets outbox.ErrClosed. It waits,
// and is idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.writes)
	}
	s.mu.Unlock()
	<-s.done
	return s.db.Close()
}

// Append implements outbox.Store: when it returns, the message is on the disk.
func (s *Store) Append(ctx context.Context, m outbox.Message, peers []string) ([]uint64, error) {
	size := int64(len(m.Body))
	if !s.limits.Fits(0, size) {
		return nil, fmt.Errorf("outbox: %w: %d bytes, limit %d", outbox.ErrTooLarge, size, s.limits.Bytes)
	}
	if len(m.Operation) > maxString || len(m.ContentType) > maxString {
		return nil, fmt.Errorf("outbox: %w: operation id or content type over %d bytes", outbox.ErrTooLarge, maxString)
	}
	if slices.Contains(peers, "") {
		return nil, errors.New("outbox: a peer without an ID")
	}
	seqs := make([]uint64, len(peers))
	err := s.commit(ctx, func(tx *bbolt.Tx, add func(string, counts)) error {
		return appendMessage(tx, m, peers, seqs, func(peer string) bool {
			if !s.limits.Fits(s.held(peer), size) {
				return false
			}
			add(peer, counts{depth: 1, bytes: size})
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	return seqs, nil
}

// Read implements outbox.Store.
func (s *Store) Read(ctx context.Context, peer string, q outbox.Query) (entries []outbox.Entry, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if q.Messages <= 0 {
		q.Messages = outbox.DefaultMessages
	}
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			entries, err = readEntries(tx, peer, q)
			return err
		})
	})
	return entries, closedErr(err)
}

// Mark implements outbox.Store.
func (s *Store) Mark(ctx context.Context, peer string, marks ...outbox.Mark) error {
	if len(marks) == 0 {
		return ctx.Err()
	}
	return s.commit(ctx, func(tx *bbolt.Tx, add func(string, counts)) error {
		return markEntries(tx, peer, marks, add)
	})
}

// Delete implements outbox.Store.
func (s *Store) Delete(ctx context.Context, peer string, seqs ...uint64) error {
	if len(seqs) == 0 {
		return ctx.Err()
	}
	return s.commit(ctx, func(tx *bbolt.Tx, add func(string, counts)) error {
		return deleteEntries(tx, peer, seqs, add)
	})
}

// Stats implements outbox.Store.
func (s *Store) Stats(ctx context.Context) ([]outbox.Stat, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.counted.Lock()
	stats := make([]outbox.Stat, 0, len(s.counts))
	for peer, c := range s.counts {
		if c.depth+c.quarantine > 0 {
			stats = append(stats, outbox.Stat{Peer: peer, Depth: c.depth, Bytes: c.bytes, Quarantined: c.quarantine})
		}
	}
	s.counted.Unlock()
	slices.SortFunc(stats, func(a, b outbox.Stat) int { return cmp.Compare(a.Peer, b.Peer) })
	err := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			for i := range stats {
				var err error
				if stats[i].Oldest, err = oldest(tx, stats[i].Peer); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, closedErr(err)
	}
	return stats, nil
}

func (s *Store) held(peer string) int64 {
	s.counted.Lock()
	defer s.counted.Unlock()
	if c := s.counts[peer]; c != nil {
		return c.bytes
	}
	return 0
}

func (s *Store) add(peer string, d counts) {
	s.counted.Lock()
	defer s.counted.Unlock()
	c := s.counts[peer]
	if c == nil {
		c = &counts{}
		s.counts[peer] = c
	}
	c.depth += d.depth
	c.quarantine += d.quarantine
	c.bytes += d.bytes
	if *c == (counts{}) {
		delete(s.counts, peer)
	}
}

func closedErr(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("outbox: %w", outbox.ErrClosed)
	}
	return err
}
