package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"
)

// A generation is what this node is: an identity, and the connections made with it.
type generation struct {
	t        *Transport
	id       uint64
	identity atomic.Pointer[tls.Certificate] // nil: none; set by use alone, which may give it another handle of its key
	server   *tls.Config
	ctx      context.Context // ends with the generation; dials live in it
	cancel   context.CancelFunc

	refs    atomic.Int64 // exchanges, from the choice of a connection to the end of the body
	retired atomic.Bool
	done    sync.Once

	mu       sync.RWMutex
	pools    map[poolKey]*pool
	caches   map[*member]tls.ClientSessionCache
	deadline *time.Timer

	tickets   [][32]byte // nil: no resumption
	ticketAge time.Time
}

type poolKey struct {
	member *member
	lane   Lane
}

func (t *Transport) newGeneration(id uint64, identity *tls.Certificate) *generation {
	g := &generation{t: t, id: id, pools: make(map[poolKey]*pool)}
	g.use(identity)
	g.ctx, g.cancel = context.WithCancel(t.ctx)
	if t.opts.Resumption {
		g.caches = make(map[*member]tls.ClientSessionCache)
	}
	if identity != nil {
		g.server = t.baseConfig()
		g.server.ClientAuth = tls.RequireAnyClientCert // VerifyConnection judges it
		g.server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return g.certificate(), nil }
		if t.opts.Resumption {
			g.rotateTicketKey()
		}
	}
	return g
}

// rotateTicketKey gives the generation a new ticket key of its own: a session of another generation is unknown to
// it. The key before stays for sessions that are resumed soon.
func (g *generation) rotateTicketKey() {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tickets = append([][32]byte{key}, g.tickets...)
	g.tickets = g.tickets[:min(len(g.tickets), 2)]
	g.ticketAge = time.Now()
	g.server.SetSessionTicketKeys(g.tickets)
}

// ticketLife is how long a ticket key makes tickets; it opens them for as long again.
const ticketLife = 12 * time.Hour

func (g *generation) refreshTicketKey(now time.Time) {
	g.mu.RLock()
	due := g.server != nil && g.tickets != nil && now.Sub(g.ticketAge) > ticketLife
	g.mu.RUnlock()
	if due {
		g.rotateTicketKey()
	}
}

func (g *generation) certificate() *tls.Certificate {
	if c := g.identity.Load(); c != nil {
		return c
	}
	return &tls.Certificate{}
}

func (g *generation) sessions(m *member) tls.ClientSessionCache {
	if g.caches == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.caches[m]
	if c == nil {
		c = tls.NewLRUClientSessionCache(8)
		g.caches[m] = c
	}
	return c
}

// enter returns the generation that serves now, referenced.
func (t *Transport) enter() *generation {
	for {
		g := t.current.Load()
		if g == nil || t.ctx.Err() != nil {
			return nil
		}
		g.refs.Add(1)
		if !g.retired.Load() {
			return g
		}
		g.leave()
	}
}

// leave gives a reference back.
func (g *generation) leave() {
	if g.refs.Add(-1) == 0 && g.retired.Load() {
		g.finish(0)
	}
}

func (g *generation) pool(m *member, l Lane) *pool {
	k := poolKey{m, l}
	g.mu.RLock()
	p := g.pools[k]
	g.mu.RUnlock()
	if p != nil {
		return p
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if p = g.pools[k]; p == nil {
		limit := g.t.opts.MaxConns
		if l == Bulk {
			limit = g.t.opts.MaxBulkConns
		}
		p = &pool{gen: g, member: m, lane: l, limit: limit, conns: make(map[*conn]struct{})}
		g.pools[k] = p
	}
	return p
}

func (g *generation) list() []*pool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	all := make([]*pool, 0, len(g.pools))
	for _, p := range g.pools {
		all = append(all, p)
	}
	return all
}

// retire ends the service of g: idle connections close, the others when their exchange ends or the deadline
// comes.
func (g *generation) retire() {
	g.retired.Store(true)
	for _, p := range g.list() {
		p.drain()
	}
	g.mu.Lock()
	g.deadline = time.AfterFunc(g.t.opts.DrainTimeout, func() {
		n := 0
		for _, p := range g.list() {
			n += p.abandon(&Error{Op: "exchange", Kind: KindClosed, Err: errDrained})
		}
		g.finish(n)
	})
	g.mu.Unlock()
	if g.refs.Load() == 0 {
		g.finish(0)
	}
}

func (g *generation) finish(abandoned int) {
	g.done.Do(func() {
		g.cancel()
		g.mu.Lock()
		if g.deadline != nil {
			g.deadline.Stop()
		}
		g.mu.Unlock()
		for _, p := range g.list() {
			p.drain()
		}
		g.t.drained(g)
		g.t.event(Event{Type: EventDrained, Generation: g.id, N: abandoned})
	})
}

// forget closes the pools of a peer that left.
func (g *generation) forget(gone func(*member) bool) {
	var left []*pool
	g.mu.Lock()
	for k, p := range g.pools {
		if gone(k.member) {
			left = append(left, p)
			delete(g.pools, k)
		}
	}
	for m := range g.caches {
		if gone(m) {
			delete(g.caches, m)
		}
	}
	g.mu.Unlock()
	for _, p := range left {
		p.abandon(&Error{Op: "route", Kind: KindNotPeer, Err: errNoPeer})
	}
}

// sameIdentity reports whether two identities are the same certificates with the same key.
func sameIdentity(a, b *tls.Certificate) bool {
	if a == nil || b == nil {
		return a == b
	}
	if len(a.Certificate) != len(b.Certificate) {
		return false
	}
	for i := range a.Certificate {
		if !bytes.Equal(a.Certificate[i], b.Certificate[i]) {
			return false
		}
	}
	return true
}
