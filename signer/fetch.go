package signer

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// HTTPFetch makes a FetchFunc of a RoundTripper that authenticates peers, such as a transport.Transport. base
// gives the base URL of a peer, to which DirectoryPath is added; "" matches ErrNotFound. It follows no
// redirect and reads at most MaxDirectorySize bytes; more, or another status than 200, matches ErrMaterial
// or ErrUnavailable.
func HTTPFetch(rt http.RoundTripper, base func(peer string) string) FetchFunc {
	return func(ctx context.Context, peer string) ([]byte, error) {
		b := base(peer)
		if b == "" {
			return nil, fmt.Errorf("no URL: %w", fault.ErrNotFound)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(b, "/")+DirectoryPath, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, fault.ErrConfig)
		}
		req.Header.Set("Accept", "application/jwk-set+json")
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, fault.ErrUnavailable)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %d: %w", resp.StatusCode, fault.ErrUnavailable)
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, MaxDirectorySize+1))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, fault.ErrUnavailable)
		}
		if len(data) > MaxDirectorySize {
			return nil, fmt.Errorf("larger than %d bytes: %w", MaxDirectorySize, fault.ErrMaterial)
		}
		return data, nil
	}
}

// Refresh fetches a peer's keys, whatever is cached, and reports how that went. It does not wait for MinInterval.
// Callers share a fetch, but none is content with one that had begun before. The context bounds the wait, not the
// fetch. A peer whose keys are never fetched matches ErrUnsupported.
func (d *KeyDirectory) Refresh(ctx context.Context, peer string) error {
	d.mu.RLock()
	p := d.peers[peer]
	d.mu.RUnlock()
	switch {
	case p == nil:
		return fmt.Errorf("signer: %q is no peer: %w", peer, fault.ErrNotFound)
	case p.static || d.config.Fetch == nil:
		return fmt.Errorf("signer: keys of %q are configured, not fetched: %w", peer, fault.ErrUnsupported)
	}
	for earlier := true; ; earlier = false {
		f, ours := d.fetch(peer, true)
		if f == nil {
			return fmt.Errorf("signer: key directory: %w", fault.ErrClosed)
		}
		err := f.wait(ctx)
		switch {
		case earlier && !ours && ctx.Err() == nil: // it had begun before
		case err != nil:
			return fmt.Errorf("signer: keys of %q: %w", peer, err)
		default:
			return nil
		}
	}
}

// flight is one fetch, for all who wait for it.
type flight struct {
	done chan struct{}
	err  error // once done is closed
}

// wait returns what became of the flight.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	default:
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), fault.ErrUnavailable)
	}
}

// fetchBurst is how many fetches from one peer may follow each other at once.
const fetchBurst = 5

// fetch starts a fetch, or joins the one that is under way. It returns nil when the peer was asked too often,
// is gone, or the directory is closed. ours says that the flight began now.
func (d *KeyDirectory) fetch(peer string, force bool) (f *flight, ours bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.peers[peer]
	if p == nil || d.closed {
		return nil, false
	}
	if f := d.flights[peer]; f != nil {
		return f, false
	}
	now := d.config.Clock()
	interval := d.config.MinInterval
	if !force && p.allowed.Sub(now) > (fetchBurst-1)*interval {
		return nil, false
	}
	if p.allowed.Before(now) {
		p.allowed = now
	}
	p.allowed = p.allowed.Add(interval)
	f = &flight{done: make(chan struct{})}
	d.flights[peer] = f
	d.wait.Go(func() { d.fly(peer, f) })
	return f, true
}

// again asks a peer once more, within MinInterval, and reports whether it answered.
func (d *KeyDirectory) again(ctx context.Context, peer string) bool {
	d.mu.RLock()
	p := d.peers[peer]
	asks := p != nil && !p.static && d.config.Fetch != nil
	d.mu.RUnlock()
	for ours := false; asks && !ours; {
		var f *flight
		if f, ours = d.fetch(peer, false); f == nil || f.wait(ctx) != nil { // one that is not ours may have begun before
			return false
		}
	}
	return asks
}

func (d *KeyDirectory) fly(peer string, f *flight) {
	ctx, cancel := context.WithTimeout(d.ctx, d.config.FetchTimeout)
	defer cancel()
	set, events, err := d.pull(ctx, peer)
	f.err = err
	d.mu.Lock()
	delete(d.flights, peer)
	if p := d.peers[peer]; p != nil && err == nil {
		p.fetched = set
		p.missing = nil
		events = append(events, d.claim()...)
	}
	d.mu.Unlock()
	if err != nil {
		events = append(events, DirectoryEvent{Kind: DirectoryFailed, Peer: peer, Err: err})
	} else {
		events = append(events, DirectoryEvent{Kind: DirectoryFetched, Peer: peer, KeyIDs: slices.Sorted(maps.Keys(set.keys))})
	}
	d.tell(events...)
	close(f.done)
}

// pull asks a peer and judges the answer.
func (d *KeyDirectory) pull(ctx context.Context, peer string) (*fetchedSet, []DirectoryEvent, error) {
	data, err := d.config.Fetch(ctx, peer)
	if err != nil {
		return nil, nil, err
	}
	view, err := ParseJWKS(data)
	if err != nil {
		return nil, nil, err
	}
	var events []DirectoryEvent
	keys := make(map[string]PublishedKey, len(view.Keys))
	var order []string
	for _, k := range view.Keys {
		id := Thumbprint(k.Key)
		if len(k.Chain) > 0 && d.config.CheckChain != nil {
			if err := d.config.CheckChain(peer, k.Key, k.Chain); err != nil {
				events = append(events, DirectoryEvent{Kind: DirectoryRejected, Peer: peer, KeyIDs: []string{id}, Err: err})
				continue
			}
		}
		keys[id] = k
		order = append(order, id)
	}
	validity := view.Validity
	if validity == 0 {
		validity = 5 * time.Minute
	}
	validity = min(max(validity, d.config.MinValidity), d.config.MaxValidity)
	now := d.config.Clock()
	fresh := now.Add(validity)
	return &fetchedSet{keys: keys, order: order, renew: now.Add(validity * 2 / 3), fresh: fresh, stale: fresh.Add(d.config.MaxStale)}, events, nil
}
