package signer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// directoryPeer is what is known of one peer. All of it is under the directory's lock.
type directoryPeer struct {
	static     bool
	configured map[string]ed25519.PublicKey
	fetched    *fetchedSet // nil: never
	allowed    time.Time   // the rate limit's own clock
	missing    map[string]time.Time
}

// fetchedSet is what a peer published. It is immutable.
type fetchedSet struct {
	keys  map[string]PublishedKey
	order []string  // of the ids, as published
	renew time.Time // from then on it is fetched again, in the background
	fresh time.Time // until then it is relied upon
	stale time.Time // until then it is used if the peer cannot be asked
}

// lookup is what the directory knows without asking.
type lookup struct {
	keys     []ed25519.PublicKey // usable now
	fallback []ed25519.PublicKey // usable if the peer cannot be asked
	renew    bool                // the set is due
	ask      bool                // the peer should be asked first
	err      error               // why there is no key
}

// Key implements KeySource. A key id that is not known makes it ask the peer, within MinInterval and
// NegativeTTL; the caller waits for that within ctx. ErrNotFound: the peer has no such key, or is none of
// ours, or another peer claims the key too. ErrUnavailable: the peer could not be asked.
func (d *KeyDirectory) Key(ctx context.Context, peer, keyID string) (ed25519.PublicKey, error) {
	if k := d.known(peer, keyID); k != nil {
		return k, nil
	}
	keys, err := d.find(ctx, peer, func(now time.Time) lookup { return d.look(peer, keyID, now) }, func() { d.miss(peer, keyID) })
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// known is the way of almost every message: a key that needs no asking and no renewal.
func (d *KeyDirectory) known(peer, keyID string) ed25519.PublicKey {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.peers[peer]
	if p == nil {
		return nil
	}
	if k, ok := p.configured[keyID]; ok {
		return k
	}
	if p.static || p.fetched == nil {
		return nil
	}
	now := d.config.Clock()
	k, ok := p.fetched.keys[keyID]
	if !ok || !now.Before(p.fetched.renew) || d.usable(peer, keyID, &k, now) != nil {
		return nil
	}
	return k.Key
}

// Keys implements KeySource: the configured keys in the order of their ids, then those that were fetched as they are
// published, which is the one that signs first.
func (d *KeyDirectory) Keys(ctx context.Context, peer string) ([]ed25519.PublicKey, error) {
	return d.find(ctx, peer, func(now time.Time) lookup { return d.lookAll(peer, now) }, func() {})
}

func (d *KeyDirectory) find(ctx context.Context, peer string, look func(time.Time) lookup, miss func()) ([]ed25519.PublicKey, error) {
	d.mu.RLock()
	l := look(d.config.Clock())
	d.mu.RUnlock()
	if len(l.keys) > 0 {
		if l.renew {
			d.fetch(peer, false) // in the background
		}
		return l.keys, nil
	}
	if !l.ask {
		return nil, l.err
	}
	// Twice, since a fetch that was under way may have begun before the peer published what we look for.
	for range 2 {
		f, ours := d.fetch(peer, false)
		if f == nil {
			break
		}
		if err := f.wait(ctx); err != nil {
			if len(l.fallback) > 0 {
				return l.fallback, nil
			}
			return nil, fmt.Errorf("signer: keys of %q: %w", peer, err)
		}
		d.mu.Lock()
		l = look(d.config.Clock())
		if len(l.keys) == 0 && ours {
			miss()
		}
		d.mu.Unlock()
		if len(l.keys) > 0 {
			return l.keys, nil
		}
		if ours {
			return nil, l.err
		}
	}
	if len(l.fallback) > 0 {
		return l.fallback, nil
	}
	return nil, fmt.Errorf("signer: keys of %q: asked too often: %w", peer, fault.ErrUnavailable)
}

// look finds one key.
func (d *KeyDirectory) look(peer, keyID string, now time.Time) lookup {
	p := d.peers[peer]
	if p == nil {
		return lookup{err: fmt.Errorf("signer: %q is no peer: %w", peer, fault.ErrNotFound)}
	}
	if k, ok := p.configured[keyID]; ok {
		return lookup{keys: []ed25519.PublicKey{k}}
	}
	l := lookup{err: fmt.Errorf("signer: peer %q has no key %s: %w", peer, keyID, fault.ErrNotFound)}
	if p.static || d.config.Fetch == nil {
		return l
	}
	set := p.fetched
	if set == nil {
		l.ask = true
		return l
	}
	var err error
	if k, ok := set.keys[keyID]; ok {
		if err = d.usable(peer, keyID, &k, now); err == nil {
			l.sort(set, now, k.Key)
			return l
		}
		l.err = err
	}
	until, missing := p.missing[keyID]
	// A contested or outdated key is asked for again only when the whole set is due.
	l.ask = !(missing && now.Before(until)) && (err == nil || now.After(set.renew))
	return l
}

// lookAll finds all keys.
func (d *KeyDirectory) lookAll(peer string, now time.Time) lookup {
	p := d.peers[peer]
	if p == nil {
		return lookup{err: fmt.Errorf("signer: %q is no peer: %w", peer, fault.ErrNotFound)}
	}
	l := lookup{err: fmt.Errorf("signer: peer %q has no keys: %w", peer, fault.ErrNotFound)}
	for _, id := range slices.Sorted(maps.Keys(p.configured)) {
		l.keys = append(l.keys, p.configured[id])
	}
	if p.static || d.config.Fetch == nil {
		return l
	}
	if p.fetched == nil {
		l.ask, l.renew = true, true
		return l
	}
	l.ask = now.After(p.fetched.renew)
	for _, id := range p.fetched.order {
		k := p.fetched.keys[id]
		if _, twice := p.configured[id]; !twice && d.usable(peer, id, &k, now) == nil {
			l.sort(p.fetched, now, k.Key)
		}
	}
	return l
}

// sort puts a key where the age of its set belongs.
func (l *lookup) sort(set *fetchedSet, now time.Time, k ed25519.PublicKey) {
	switch {
	case now.Before(set.fresh):
		l.keys = append(l.keys, k)
		l.renew = now.After(set.renew)
		return
	case now.Before(set.stale):
		l.fallback = append(l.fallback, k)
	}
	l.ask, l.renew = true, true
}

// usable says why a published key is not. Its times are by the clock of the peer, as those of messages are.
func (d *KeyDirectory) usable(peer, keyID string, k *PublishedKey, now time.Time) error {
	switch {
	case len(d.contested[keyID]) > 0:
		return fmt.Errorf("signer: key %s of %q is claimed by another peer too: %w", keyID, peer, fault.ErrNotFound)
	case !k.NotBefore.IsZero() && now.Add(DefaultSkew).Before(k.NotBefore), !k.NotAfter.IsZero() && !now.Before(k.NotAfter.Add(DefaultSkew)):
		return fmt.Errorf("signer: key %s of %q is not valid now: %w", keyID, peer, fault.ErrNotFound)
	}
	return nil
}

// maxMissing bounds the negative cache of a peer; the rate limit bounds what a full one costs.
const maxMissing = 32

// miss remembers that a peer has no such key.
func (d *KeyDirectory) miss(peer, keyID string) {
	p := d.peers[peer]
	if p == nil {
		return
	}
	if p.missing == nil {
		p.missing = make(map[string]time.Time)
	}
	if len(p.missing) >= maxMissing {
		clear(p.missing)
	}
	p.missing[keyID] = d.config.Clock().Add(d.config.NegativeTTL)
}

// claim finds the keys that several peers claim, and reports those that are new. It runs under the lock.
func (d *KeyDirectory) claim() []DirectoryEvent {
	now := d.config.Clock()
	owners := make(map[string][]string)
	for _, name := range slices.Sorted(maps.Keys(d.peers)) {
		p := d.peers[name]
		for id := range p.configured {
			owners[id] = append(owners[id], name)
		}
		if p.fetched == nil || p.static || now.After(p.fetched.stale) {
			continue
		}
		for id := range p.fetched.keys {
			if _, own := p.configured[id]; !own {
				owners[id] = append(owners[id], name)
			}
		}
	}
	before := d.contested
	d.contested = nil
	var events []DirectoryEvent
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		names := owners[id]
		if len(names) < 2 {
			continue
		}
		if d.contested == nil {
			d.contested = make(map[string][]string)
		}
		d.contested[id] = names
		if !slices.Equal(before[id], names) {
			events = append(events, DirectoryEvent{
				Kind: DirectoryConflict, Peer: names[0], Others: names[1:], KeyIDs: []string{id},
				Err: errors.New("several peers claim one key: it is refused for all that have it not configured"),
			})
		}
	}
	return events
}
