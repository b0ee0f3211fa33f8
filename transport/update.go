package transport

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// Update puts m in force. Trust, peers and distrusted keys hold when it returns, for every connection there is.
// If the identity is another than before, Update also handshakes a connection for each one that is in use, and
// then moves new requests to them; ctx and Options.WarmTimeout bound this, and when they end the new identity
// serves with what is ready, unless its key says meanwhile that it will not sign any more: then the identity before
// stays, alone of what was before, and the error wraps ErrExpired. The first Update dials nothing: see Warm.
//
// Any other error wraps ErrMaterial, ErrExpired or ErrConfig and names what it found; the material before stays in
// force, all of it. Concurrent calls take effect in the order in which they began.
func (t *Transport) Update(ctx context.Context, m Material) error {
	return t.UpdateFrom(ctx, func() Material { return m })
}

// UpdateFrom is Update with material that is read when its turn comes, so that of concurrent calls none puts back
// what another has replaced. read must be quick and must not call t.
func (t *Transport) UpdateFrom(ctx context.Context, read func() Material) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("transport: update: %w", err)
	}
	g, err := t.apply(read)
	if err != nil {
		return fmt.Errorf("transport: update: %w", err)
	}
	if g == nil {
		return nil
	}
	made := 0
	if old := t.current.Load(); old != nil {
		made = t.warmLike(ctx, g, old)
		if err := t.stillborn(g, made); err != nil {
			return fmt.Errorf("transport: update: %w", err)
		}
	}
	t.swap(g, made)
	return nil
}

// apply puts the snapshot of what read returns in force, and returns the generation that has to follow if the
// identity changed.
func (t *Transport) apply(read func() Material) (*generation, error) {
	t.update.Lock()
	defer t.update.Unlock()
	if t.isClosed() {
		return nil, ErrClosed
	}
	m := read()
	old := t.snap.Load()
	s, ignored, errs := compileSnapshot(&m, old, &t.opts)
	target := t.target()
	same := target != nil && sameIdentity(target.identity.Load(), m.Identity)
	if !same && m.Identity != nil {
		if err := checkIdentity(m.Identity, time.Now()); err != nil {
			errs = append(errs, fmt.Errorf("Material.Identity: %w", err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t.trust(s, old)
	for _, err := range ignored {
		t.event(Event{Type: EventCRLIgnored, Err: err})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// Again, with mu held: a generation that was about to serve may have been given up meanwhile.
	if target := t.targetLocked(); target != nil && sameIdentity(target.identity.Load(), m.Identity) {
		target.use(m.Identity)
		return nil, nil
	}
	t.lastID++
	g := t.newGeneration(t.lastID, m.Identity)
	if t.next != nil { // overtaken before it served
		t.next.cancel()
	}
	t.next = g
	return g, nil
}

// trust puts s in force, for what is live too.
func (t *Transport) trust(s, old *snapshot) {
	t.snapshots++
	s.seq = t.snapshots
	t.snap.Store(s)
	cut := t.recheck(s)
	if old != nil {
		gone := func(m *member) bool { return s.byMember[m] == nil }
		for _, g := range t.generations() {
			g.forget(gone)
		}
	}
	t.event(Event{Type: EventSnapshot, N: cut})
	t.tellStale(s, time.Now())
}

// target is the generation that serves, or is about to.
func (t *Transport) target() *generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.targetLocked()
}

func (t *Transport) targetLocked() *generation {
	if t.next != nil {
		return t.next
	}
	return t.current.Load()
}

// generations returns every generation that may hold connections.
func (t *Transport) generations() []*generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*generation, 0, len(t.old)+2)
	for g := range t.old {
		all = append(all, g)
	}
	if t.next != nil {
		all = append(all, t.next)
	}
	if g := t.current.Load(); g != nil {
		all = append(all, g)
	}
	return all
}

// warmLike gives g as many connections as old uses.
func (t *Transport) warmLike(ctx context.Context, g, old *generation) int {
	ctx, cancel := context.WithTimeout(ctx, t.opts.WarmTimeout)
	defer cancel()
	stop := context.AfterFunc(g.ctx, cancel)
	defer stop()
	var wg sync.WaitGroup
	var made atomic.Int64
	for _, p := range old.list() {
		n := p.wanted()
		if n == 0 || t.entryOf(p.member) == nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			k, _ := g.pool(p.member, p.lane).warmUp(ctx, n)
			made.Add(int64(k))
		}()
	}
	wg.Wait()
	return int(made.Load())
}

// swap makes g serve, unless it was overtaken.
func (t *Transport) swap(g *generation, made int) {
	t.mu.Lock()
	if t.next != g || t.isClosed() {
		t.mu.Unlock()
		g.retire()
		return
	}
	t.next = nil
	old := t.current.Swap(g)
	if old != nil {
		t.old[old] = struct{}{}
	}
	t.mu.Unlock()
	t.event(Event{Type: EventGeneration, Generation: g.id, N: made})
	if old != nil {
		old.retire()
	}
}

func (t *Transport) drained(g *generation) {
	t.mu.Lock()
	delete(t.old, g)
	t.mu.Unlock()
}

// Warm handshakes a connection in the quorum lane to every peer that has none, and returns when all have
// answered or failed, or ctx ends. The error joins an *Error for each peer that failed. Without Warm, a peer's
// first request dials.
func (t *Transport) Warm(ctx context.Context) error {
	g := t.enter()
	if g == nil {
		if t.isClosed() {
			return &Error{Op: "dial", Kind: KindClosed, Err: ErrClosed}
		}
		return &Error{Op: "dial", Kind: KindUnreachable, Err: errNotReady}
	}
	defer g.leave()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, e := range t.snap.Load().entries {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := g.pool(e.member, Quorum).warmUp(ctx, 1); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkIdentity refuses an identity that cannot serve.
func checkIdentity(c *tls.Certificate, now time.Time) error {
	if len(c.Certificate) == 0 {
		return fmt.Errorf("holds no certificate: %w", fault.ErrMaterial)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return fmt.Errorf("leaf certificate cannot be parsed: %w", fault.ErrMaterial)
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("private key is %T, want a crypto.Signer: %w", c.PrivateKey, fault.ErrMaterial)
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(leaf.PublicKey) {
		return fmt.Errorf("private key is not that of the certificate %x: %w", leaf.SerialNumber, fault.ErrMaterial)
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("certificate ended at %s: renew it: %w", leaf.NotAfter.UTC().Format(time.RFC3339), fault.ErrExpired)
	}
	return nil
}
