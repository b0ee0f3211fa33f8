package signer

import (
	"math/bits"
	"sync"
	"time"
	"unsafe"
)

// fingerprint stands for a nonce of a key: 128 bits of seeded hash. Two that collide, which nobody can
// bring about without the seed, make a message look like a replay; never the other way round.
type fingerprint [2]uint64

// replayShard is one part of a ReplayCache.
type replayShard struct {
	mu                sync.Mutex
	window            time.Duration
	limit, quota      int // per generation
	current, previous generation
	// forgotten is the latest expiry among the nonces that were dropped. What expires no later cannot be
	// told from them, should the clock have been set back.
	forgotten                 time.Time
	replayed, full, overQuota uint64
}

// generation is a set of fingerprints in an open-addressed table.
type generation struct {
	start  time.Time
	latest time.Time // the latest expiry
	slots  []fingerprint
	used   int
	perKey map[uint64]int
}

func (s *replayShard) spend(e fingerprint, key uint64, expires, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotate(now)
	switch {
	case !expires.After(s.forgotten) || s.current.has(e) || s.previous.has(e):
		s.replayed++
		return ErrReplayed
	case s.current.used >= s.limit:
		s.full++
		return ErrReplayFull
	case s.current.perKey[key] >= s.quota:
		s.overQuota++
		return ErrReplayQuota
	}
	s.current.add(e, s.limit)
	if s.current.perKey == nil {
		s.current.perKey = make(map[uint64]int)
	}
	s.current.perKey[key]++
	if expires.After(s.current.latest) {
		s.current.latest = expires
	}
	return nil
}

// rotate drops the older generation once everything in it has expired and the current one is a window old.
func (s *replayShard) rotate(now time.Time) {
	if now.Sub(s.current.start) < s.window || now.Before(s.previous.latest) {
		return
	}
	if s.previous.latest.After(s.forgotten) {
		s.forgotten = s.previous.latest
	}
	free := s.previous.slots
	s.previous = s.current
	s.current = generation{start: now}
	// The table serves again where it fits what the last window needed.
	if len(free) <= 2*tableSize(s.previous.used) {
		clear(free)
		s.current.slots = free
	}
}

func (s *replayShard) stats(t *ReplayStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const perKeyBytes = 24 // of a map entry, about
	for _, g := range [...]*generation{&s.current, &s.previous} {
		t.Entries += g.used
		t.Bytes += len(g.slots)*int(unsafe.Sizeof(fingerprint{})) + len(g.perKey)*perKeyBytes
	}
	t.Bytes += int(unsafe.Sizeof(*s))
	t.Replayed += s.replayed
	t.Full += s.full
	t.Quota += s.overQuota
}

// tableSize is how many slots hold n entries at a load of four fifths.
func tableSize(n int) int { return n + n/4 + 1 }

// slot is where e is, or where it belongs.
func slot(slots []fingerprint, e fingerprint) int {
	at, _ := bits.Mul64(e[0], uint64(len(slots)))
	i := int(at)
	for slots[i] != e && slots[i] != (fingerprint{}) {
		if i++; i == len(slots) {
			i = 0
		}
	}
	return i
}

func (g *generation) has(e fingerprint) bool {
	return len(g.slots) > 0 && g.slots[slot(g.slots, e)] == e
}

// add puts in what is not there. The table grows by half, up to what limit needs.
func (g *generation) add(e fingerprint, limit int) {
	if tableSize(g.used+1) > len(g.slots) {
		grown := make([]fingerprint, min(max(tableSize(g.used+g.used/2), 16), tableSize(limit)))
		for _, old := range g.slots {
			if old != (fingerprint{}) {
				grown[slot(grown, old)] = old
			}
		}
		g.slots = grown
	}
	g.slots[slot(g.slots, e)] = e
	g.used++
}
