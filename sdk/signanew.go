package sdk

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"time"
)

// signAnew makes a signature that failed with err, as s may no longer sign: its source has retired it before the
// next pull was due. It asks the provider for what takes its place, unless that was in vain a moment ago, and again
// as long as that is retired in turn.
func (f *Federation) signAnew(ctx context.Context, s *signing, err error, sign func(*signing) error) error {
	for range maxSuccessions {
		now := f.signing.Load()
		ask := now == s
		if ask {
			if !f.barren.mayAsk(s.ring.public, time.Now()) {
				return err
			}
			_ = f.keys.Refresh(ctx) // its failure shows in Status
			now = f.signing.Load()
		}
		if now != s { // maybe the same key, in another session
			err = sign(now)
		}
		switch {
		case err == nil:
			f.barren.clear()
			return nil
		case !errors.Is(err, ErrExpired) || ctx.Err() != nil: // the pull may not have ended
			return err
		case ask && now.ring.public.Equal(s.ring.public):
			f.barren.add(s.ring.public, time.Now())
			return err
		}
		s = now
	}
	return err
}

// maxSuccessions is how many keys that are retired one after the other are followed for one signature.
const maxSuccessions = 3

// barrenPulls remembers the pulls that brought nothing that signs in place of a retired key, so that a provider is
// not pulled for every message. The zero value remembers none.
type barrenPulls struct {
	mu    sync.Mutex
	key   ed25519.PublicKey
	rest  time.Duration
	until time.Time
}

const (
	minBarren = time.Second
	maxBarren = 30 * time.Second
)

// mayAsk reports whether the provider may be asked for what takes the place of a key.
func (b *barrenPulls) mayAsk(key ed25519.PublicKey, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.key.Equal(key) || !now.Before(b.until)
}

// add tells of a pull in vain, after which key is in service. Several may have waited for the same one.
func (b *barrenPulls) add(key ed25519.PublicKey, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.key.Equal(key):
		b.key, b.rest = key, minBarren
	case now.Before(b.until):
		return
	default:
		b.rest = min(2*b.rest, maxBarren)
	}
	b.until = now.Add(b.rest)
}

func (b *barrenPulls) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.key = nil
}
