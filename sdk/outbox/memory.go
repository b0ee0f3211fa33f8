package outbox

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Memory is a Store that lives as long as the process. It needs no Close.
type Memory struct {
	limits Limits

	mu     sync.Mutex
	seq    uint64
	queues map[string]*queue
}

var (
	_ Store   = (*Memory)(nil)
	_ Limiter = (*Memory)(nil)
)

// NewMemory returns an empty store within limits; zero fields are the defaults.
func NewMemory(limits Limits) *Memory {
	return &Memory{limits: limits.WithDefaults(), queues: make(map[string]*queue)}
}

// Limits returns the limits in force.
func (s *Memory) Limits() Limits { return s.limits }

// A queue holds a peer's rows in ascending Seq. A deleted row stays as a gap until the gaps are a half.
type queue struct {
	rows              []row
	gaps              int
	bytes             int64
	depth, quarantine int
}

type row struct {
	seq   uint64
	entry *Entry // nil: a gap; replaced, never changed, since readers hold copies of what it points to
}

// Append implements Store.
func (s *Memory) Append(ctx context.Context, m Message, peers []string) ([]uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	size := int64(len(m.Body))
	if !s.limits.Fits(0, size) {
		return nil, fmt.Errorf("outbox: %w: %d bytes, limit %d", ErrTooLarge, size, s.limits.Bytes)
	}
	seqs := make([]uint64, len(peers))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, peer := range peers {
		q := s.queues[peer]
		if q == nil {
			q = &queue{}
			s.queues[peer] = q
		}
		if !s.limits.Fits(q.bytes, size) {
			continue
		}
		s.seq++
		seqs[i] = s.seq
		q.rows = append(q.rows, row{s.seq, &Entry{Message: m, Seq: s.seq}})
		q.bytes += size
		q.depth++
	}
	return seqs, nil
}

// Read implements Store.
func (s *Memory) Read(ctx context.Context, peer string, want Query) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if want.Messages <= 0 {
		want.Messages = DefaultMessages
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[peer]
	if q == nil {
		return nil, nil
	}
	at, found := q.find(want.After)
	if found {
		at++
	}
	var entries []Entry
	var bytes int64
	for _, r := range q.rows[at:] {
		if r.entry == nil || r.entry.Quarantined != want.Quarantined {
			continue
		}
		bytes += int64(len(r.entry.Body))
		if len(entries) > 0 && want.Bytes > 0 && bytes > want.Bytes {
			break
		}
		if entries = append(entries, *r.entry); len(entries) == want.Messages {
			break
		}
	}
	return entries, nil
}

// Mark implements Store.
func (s *Memory) Mark(ctx context.Context, peer string, marks ...Mark) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[peer]
	if q == nil {
		return nil
	}
	for _, m := range marks {
		at, found := q.find(m.Seq)
		if !found || q.rows[at].entry == nil {
			continue
		}
		e := *q.rows[at].entry
		q.count(&e, -1)
		e.Refusals, e.Quarantined, e.Reason = m.Refusals, m.Quarantined, CutReason(m.Reason)
		q.count(&e, +1)
		q.rows[at].entry = &e
	}
	return nil
}

// Delete implements Store.
func (s *Memory) Delete(ctx context.Context, peer string, seqs ...uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[peer]
	if q == nil {
		return nil
	}
	for _, seq := range seqs {
		at, found := q.find(seq)
		if !found || q.rows[at].entry == nil {
			continue
		}
		q.count(q.rows[at].entry, -1)
		q.bytes -= int64(len(q.rows[at].entry.Body))
		q.rows[at].entry = nil
		q.gaps++
	}
	if q.gaps*2 > len(q.rows) {
		q.rows = slices.DeleteFunc(q.rows, func(r row) bool { return r.entry == nil })
		q.gaps = 0
	}
	if len(q.rows) == 0 {
		delete(s.queues, peer)
	}
	return nil
}

// Stats implements Store.
func (s *Memory) Stats(ctx context.Context) ([]Stat, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := make([]Stat, 0, len(s.queues))
	for _, peer := range slices.Sorted(maps.Keys(s.queues)) {
		q := s.queues[peer]
		if q.depth+q.quarantine == 0 {
			continue
		}
		st := Stat{Peer: peer, Depth: q.depth, Bytes: q.bytes, Quarantined: q.quarantine}
		for _, r := range q.rows {
			if r.entry != nil && !r.entry.Quarantined {
				st.Oldest = r.entry.Created
				break
			}
		}
		stats = append(stats, st)
	}
	return stats, nil
}

func (q *queue) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(q.rows, seq, func(r row, seq uint64) int { return cmp.Compare(r.seq, seq) })
}

func (q *queue) count(e *Entry, n int) {
	if e.Quarantined {
		q.quarantine += n
	} else {
		q.depth += n
	}
}

// CutReason returns what a store keeps of a reason.
func CutReason(s string) string { return s[:min(len(s), MaxReason)] }
