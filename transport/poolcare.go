package transport

import (
	"context"
	"sync"
	"time"
)

// drain closes what is idle, and keeps nothing from now on.
func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for c := range p.conns {
		if c.idle() && (c.h2 || p.isIdleLocked(c)) {
			p.discardLocked(c)
		}
	}
	p.kickLocked() // whoever waits after a dial that failed learns now whether this identity can still connect
}

func (p *pool) isIdleLocked(c *conn) bool {
	for _, x := range p.idle {
		if x == c {
			return true
		}
	}
	return false
}

// abandon closes the pool with all that is in it, and returns how many connections that were.
func (p *pool) abandon(why *Error) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = why
	n := len(p.conns)
	for c := range p.conns {
		if c.active > 0 {
			// Not by a close_notify: a server that sees one may end its answer early, and properly.
			c.raw.sever(why)
		}
		p.discardLocked(c)
	}
	for _, w := range p.waiters {
		w.ready <- grant{err: why}
	}
	p.waiters = nil
	return n
}

// sweep closes connections that were idle too long or outlived their certificates.
func (p *pool) sweep(now time.Time) (expired int) {
	oldest := clock() - int64(p.gen.t.opts.IdleTimeout)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent, p.peak = p.peak, p.busy
	for c := range p.conns {
		switch {
		case c.expired(now):
			if !c.retired {
				expired++
			}
			c.retired = true
			if c.idle() && (c.h2 || p.isIdleLocked(c)) {
				p.discardLocked(c)
			}
		case c.idle() && c.idleSince < oldest && (c.h2 || p.isIdleLocked(c)):
			p.discardLocked(c)
		}
	}
	return expired
}

// retireSilent takes out of use the connection that was silent, and those idle that have heard nothing since
// the silence began: what swallowed one flow has likely swallowed them too.
func (p *pool) retireSilent(silent *conn, since int64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := range p.conns {
		if c != silent && (c.active > 0 || c.raw.lastRead.Load() > since || !c.h2 && !p.isIdleLocked(c)) {
			continue
		}
		if !c.retired {
			c.retired = true
			n++
		}
		if c.idle() {
			p.discardLocked(c)
		}
	}
	return n
}

// wanted is how many connections the pool of the next generation should start with.
func (p *pool) wanted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.conns) == 0 {
		return 0
	}
	if len(p.shared) > 0 {
		return 1
	}
	return min(len(p.conns), max(p.peak, p.recent, 1)+1)
}

// warm makes connections until the pool has n, and returns how many it made.
func (p *pool) warmUp(ctx context.Context, n int) (made int, err error) {
	p.mu.Lock()
	n -= len(p.conns) + p.dialing
	p.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range n {
		wg.Add(1)
		started := p.gen.t.goFunc(func() {
			defer wg.Done()
			if !p.gen.t.warming.acquire(ctx) {
				return
			}
			defer p.gen.t.warming.release()
			c, e := p.dial(ctx)
			mu.Lock()
			defer mu.Unlock()
			if e != nil {
				err = e
				return
			}
			if p.adopt(c) {
				made++
			}
		})
		if !started {
			wg.Done()
			return 0, &Error{Op: "dial", Kind: KindClosed, Err: ErrClosed}
		}
	}
	wg.Wait()
	p.member.counters.warmed.Add(uint64(made))
	return made, err
}

// adopt puts a new connection into the pool, warm.
func (p *pool) adopt(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.gone || p.closed != nil || p.draining {
		p.gen.t.goFunc(c.close)
		return false
	}
	c.warm.Store(true)
	p.conns[c] = struct{}{}
	if c.h2 {
		p.shared = append(p.shared, c)
	}
	p.putLocked(c)
	return true
}
