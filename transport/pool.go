package transport

import (
	"context"
	"sync"
	"time"
)

// A pool holds the connections of one generation to one peer in one lane.
//
// No method of an http.ClientConn that may run its state hook is called with mu held: the hook takes mu.
type pool struct {
	gen    *generation
	member *member
	lane   Lane
	limit  int

	mu       sync.Mutex
	conns    map[*conn]struct{}
	idle     []*conn // HTTP/1, the longest idle first
	shared   []*conn // HTTP/2
	dialing  int
	waiters  []*waiter
	draining bool   // no connection is kept when its exchange ends, unless somebody waits for one
	retrying bool   // retryLocked has a dial to come
	closed   *Error // no connection is given out
	busy     int    // exchanges now
	peak     int    // most exchanges at once since the last look
	recent   int    // the same for the time before
}

type waiter struct {
	ready chan grant // of capacity 1; filled with mu held
	fresh bool       // wants the connection of its own dial and no other
}

type grant struct {
	c   *conn
	err error
}

// maxStreams bounds the exchanges on one HTTP/2 connection, below what its peer allows.
const maxStreams = 100

// acquire returns a connection with a reserved slot; cold reports whether it was waited for. With fresh it is
// one made for this call, beyond the limit if need be.
func (p *pool) acquire(ctx context.Context, fresh bool) (c *conn, cold bool, err error) {
	for dead := 0; ; {
		if err := ctx.Err(); err != nil {
			return nil, cold, &Error{Op: "wait", Kind: KindOf(err), Err: err}
		}
		p.mu.Lock()
		if p.closed != nil {
			p.mu.Unlock()
			return nil, cold, p.closed
		}
		if !fresh {
			if c := p.takeLocked(); c != nil {
				c.promised++
				p.mu.Unlock()
				if p.reserve(c) {
					return c, cold, nil
				}
				continue
			}
		}
		w := &waiter{ready: make(chan grant, 1), fresh: fresh}
		p.waiters = append(p.waiters, w)
		if fresh {
			p.dialLocked(w)
		} else {
			p.kickLocked()
		}
		p.mu.Unlock()
		cold = true
		g, err := p.wait(ctx, w)
		if err != nil {
			return nil, cold, err
		}
		if p.reserve(g) {
			return g, cold, nil
		}
		if err := g.cc.Err(); err != nil && !g.used.Load() {
			if dead++; dead > 1 { // the peer closes new connections at once
				return nil, cold, g.failure("dial", false, err)
			}
		}
	}
}

func (p *pool) wait(ctx context.Context, w *waiter) (*conn, error) {
	select {
	case g := <-w.ready:
		return g.c, g.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if !p.dropLocked(w) { // it was served meanwhile
		g := <-w.ready
		if g.c != nil {
			g.c.promised--
			p.putLocked(g.c)
		}
	}
	p.mu.Unlock()
	return nil, &Error{Op: "wait", Kind: KindOf(ctx.Err()), Err: ctx.Err()}
}

// takeLocked takes a connection that seems able to carry a request.
func (p *pool) takeLocked() *conn {
	now := time.Now()
	oldest := clock() - int64(p.gen.t.opts.IdleTimeout)
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		if c.gone {
			continue
		}
		if c.retired || c.idleSince < oldest || c.expired(now) || c.raw.closed.Load() {
			p.discardLocked(c)
			continue
		}
		return c
	}
	for _, c := range p.shared {
		if !c.retired && c.active < maxStreams && !c.expired(now) && c.cc.Available() > 0 {
			return c
		}
	}
	return nil
}

// reserve books a slot of c, which was promised, for one request.
func (p *pool) reserve(c *conn) bool {
	err := c.cc.Reserve()
	p.mu.Lock()
	defer p.mu.Unlock()
	c.promised--
	if err != nil {
		if !c.h2 || c.cc.Err() != nil {
			p.discardLocked(c)
		}
		return false
	}
	c.active++
	p.busy++
	p.peak = max(p.peak, p.busy)
	return true
}

// changed is the state hook of c; it is called too when an HTTP/1 RoundTrip has returned.
func (p *pool) changed(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// After an answer without a body the connection is available a moment before RoundTrip returns the answer, and
	// closed in that moment it would lose it. On one that was upgraded HTTP is over, and only then known why.
	if c.trips.Load() > 0 && !c.h2 || c.upgraded.Load() {
		return
	}
	if c.cc.Err() != nil {
		p.discardLocked(c)
		return
	}
	if c.h2 {
		p.putLocked(c)
		return
	}
	if c.active > 0 && c.cc.Available() > 0 {
		p.busy--
		c.active = 0
		p.putLocked(c)
	}
}

// discard takes c out of the pool and closes it.
func (p *pool) discard(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.discardLocked(c)
}

// finished ends an exchange on an HTTP/2 connection. The connection's own count may stay up until the peer has
// acknowledged a reset, which a silent one never does.
func (p *pool) finished(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.active > 0 {
		c.active--
		p.busy--
	}
	p.putLocked(c)
}

// putLocked gives a connection with a free slot to who waits, or keeps it.
func (p *pool) putLocked(c *conn) {
	if c.gone {
		return
	}
	idle := c.idle()
	if c.retired || p.closed != nil {
		if idle {
			p.discardLocked(c)
		}
		return
	}
	c.idleSince = clock()
	given := false // who waits is served while the pool drains too: its request began with this generation
	if c.h2 {
		for free := min(maxStreams-c.active-c.promised, c.cc.Available()-c.promised); free > 0; free-- {
			w := p.nextWaiterLocked()
			if w == nil {
				break
			}
			p.giveLocked(w, c)
			given = true
		}
	} else if w := p.nextWaiterLocked(); w != nil {
		p.giveLocked(w, c)
		given = true
	}
	switch {
	case given:
	case p.draining:
		if idle {
			p.discardLocked(c)
		}
	case !c.h2:
		p.idle = append(p.idle, c)
	case idle && p.surplusLocked(c):
		p.discardLocked(c)
	}
}

// surplusLocked reports whether an idle HTTP/2 connection is one more than the requests of late would need, and one to
// spare. Those that are made for a repetition alone would add up, since a failed exchange does not end a connection.
func (p *pool) surplusLocked(c *conn) bool {
	streams := max(min(maxStreams, c.cc.Available()), 1)
	need := (max(p.peak, p.recent, 1)+streams-1)/streams + 1
	have := 0
	for _, x := range p.shared {
		if !x.retired {
			have++
		}
	}
	return have > need
}

// giveLocked promises c to a waiter.
func (p *pool) giveLocked(w *waiter, c *conn) {
	c.promised++
	w.ready <- grant{c: c}
}

func (p *pool) nextWaiterLocked() *waiter {
	for i, w := range p.waiters {
		if !w.fresh {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			return w
		}
	}
	return nil
}

func (p *pool) dropLocked(w *waiter) bool {
	for i := range p.waiters {
		if p.waiters[i] == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			return true
		}
	}
	return false
}

// discardLocked takes c out of the pool and closes it.
func (p *pool) discardLocked(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	p.busy -= c.active
	c.active = 0
	delete(p.conns, c)
	for i, x := range p.idle {
		if x == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			break
		}
	}
	for i, x := range p.shared {
		if x == c {
			p.shared = append(p.shared[:i], p.shared[i+1:]...)
			break
		}
	}
	p.gen.t.goFunc(c.close) // runs the hook, which takes mu
	p.kickLocked()
}
