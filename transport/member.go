package transport

import (
	"sync/atomic"
)

// A member is what outlives snapshots and generations of one peer: counters and the memory of its usual times.
type member struct {
	key      string // normalised URL
	usual    [lanes]usualTimes
	budget   budget
	counters counters
}

func newMember(key string) *member {
	m := &member{key: key}
	m.budget.tokens.Store(budgetMax)
	return m
}

type counters struct {
	requests, attempts, silences, resent   atomic.Uint64
	dials, dialErrors, handshakes, resumed atomic.Uint64
	warmed, cold, warm, reused, retired    atomic.Uint64
	errors                                 [kinds]atomic.Uint64
}

// A budget keeps repeats after silence from multiplying the load of a peer that is merely slow: each costs a
// token, each answer earns a part of one.
type budget struct{ tokens atomic.Int64 }

const (
	budgetMax    = 256 * 1000
	budgetCost   = 1000
	budgetEarned = 200
)

func (b *budget) take() bool {
	for {
		n := b.tokens.Load()
		if n < budgetCost {
			return false
		}
		if b.tokens.CompareAndSwap(n, n-budgetCost) {
			return true
		}
	}
}

func (b *budget) earn() {
	if n := b.tokens.Load(); n < budgetMax {
		b.tokens.Add(budgetEarned)
	}
}
