package signer

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// Defaults of ReplayCacheConfig.
const (
	DefaultReplayCapacity = 1 << 22
	DefaultReplayWindow   = 100 * time.Second
)

// ReplayCacheConfig is what a ReplayCache is made of.
type ReplayCacheConfig struct {
	// Capacity is about how many nonces are held at most, at 20 to 32 bytes each; default 4,194,304, which
	// is some 90 MB when full. Memory grows with use.
	Capacity int
	// Quota is about how many of them one key may have spent; default a quarter of Capacity.
	Quota int
	// Window is the time after which a nonce is usually forgotten: no nonce is before its own expiry, most
	// are within two windows. Default 100 s, which suits a Verifier's defaults: MaxAge, twice Skew, and
	// BodyTimeout. Half of Capacity can be spent per window.
	Window time.Duration
	// Clock is the time to judge by; default time.Now.
	Clock func() time.Time
}

// A ReplayCache is the ReplayStore of one process. Nonces sit in shards, each with two generations of
// which the older is dropped as a whole; a call costs O(1), spreads over cores and never evicts: a full
// cache refuses. It is safe for concurrent use and needs no closing.
type ReplayCache struct {
	seed   [2]maphash.Seed
	clock  func() time.Time
	since  time.Time
	shards []replayShard
}

var _ ReplayStore = (*ReplayCache)(nil)

// ReplayStats counts what a ReplayCache holds and what it did.
type ReplayStats struct {
	Entries  int    // nonces held
	Bytes    int    // memory set aside for them
	Replayed uint64 // refusals with ErrReplayed
	Full     uint64 // refusals with ErrReplayFull
	Quota    uint64 // refusals with ErrReplayQuota
}

// NewReplayCache makes a ReplayCache. Negative values match ErrConfig.
func NewReplayCache(c ReplayCacheConfig) (*ReplayCache, error) {
	var problems []error
	if c.Capacity < 0 {
		problems = append(problems, &fault.ConfigError{Field: "Capacity", Err: fmt.Errorf("%d; want 0 for the default, or more", c.Capacity)})
	}
	if c.Quota < 0 {
		problems = append(problems, &fault.ConfigError{Field: "Quota", Err: fmt.Errorf("%d; want 0 for the default, or more", c.Quota)})
	}
	if c.Window < 0 || c.Window > maxDuration {
		problems = append(problems, &fault.ConfigError{Field: "Window", Err: fmt.Errorf("%v; want 0 for the default, or up to %v", c.Window, maxDuration)})
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("signer: replay cache: %w", errors.Join(problems...))
	}
	return newReplayCache(c), nil
}

func newReplayCache(c ReplayCacheConfig) *ReplayCache {
	if c.Capacity == 0 {
		c.Capacity = DefaultReplayCapacity
	}
	if c.Quota == 0 {
		c.Quota = max(c.Capacity/4, 1)
	}
	if c.Window == 0 {
		c.Window = DefaultReplayWindow
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	const entriesPerShard = 1 << 12
	n := 1
	for n < 64 && c.Capacity/(2*n) >= entriesPerShard {
		n *= 2
	}
	r := &ReplayCache{
		seed:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		clock:  c.Clock,
		since:  c.Clock(),
		shards: make([]replayShard, n),
	}
	for i := range r.shards {
		s := &r.shards[i]
		s.window = c.Window
		s.limit = share(max(c.Capacity/2, 1), n)
		s.quota = share(max(c.Quota/2, 1), n)
		s.current.start = r.since
	}
	return r
}

// share is one shard's part of a total, with an eighth for the uneven spread of hashes.
func share(total, shards int) int {
	if shards == 1 {
		return total
	}
	each := (total + shards - 1) / shards
	return each + each/8
}

// Since implements ReplayStore: the moment at which the cache was made.
func (r *ReplayCache) Since() time.Time { return r.since }

// Spend implements ReplayStore. It does not block, and looks at no context.
func (r *ReplayCache) Spend(_ context.Context, keyID string, nonce Nonce, expires time.Time) error {
	var room [len(nonce) + 2*ThumbprintLen]byte
	b := append(append(room[:0], nonce[:]...), keyID...)
	e := fingerprint{maphash.Bytes(r.seed[0], b), maphash.Bytes(r.seed[1], b)}
	if e == (fingerprint{}) {
		e[0] = 1 // all zero marks a free slot
	}
	key := maphash.String(r.seed[0], keyID)
	s := &r.shards[e[1]%uint64(len(r.shards))]
	return s.spend(e, key, expires, r.clock())
}

// Stats is a snapshot, shard by shard.
func (r *ReplayCache) Stats() ReplayStats {
	var t ReplayStats
	for i := range r.shards {
		r.shards[i].stats(&t)
	}
	return t
}
