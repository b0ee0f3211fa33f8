package transport

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// kickLocked starts the dials that the waiters need.
func (p *pool) kickLocked() {
	if p.closed != nil {
		return
	}
	want := p.waitingLocked()
	if p.gen.t.opts.Protocol == HTTP2 && !p.knownHTTP1Locked() {
		want = (want + maxStreams - 1) / maxStreams // one connection serves many
	}
	for p.dialing < want && len(p.conns)+p.dialing < p.limit {
		p.dialLocked(nil)
	}
}

// waitingLocked counts those who wait for any connection.
func (p *pool) waitingLocked() int {
	n := 0
	for _, w := range p.waiters {
		if !w.fresh {
			n++
		}
	}
	return n
}

// dialPause is the time between a dial that failed and the next one made for the same requests.
const dialPause = time.Second

// retryLocked dials once more after a pause, if somebody still waits then: an exchange may hold each connection
// for hours. It is one dial for all who wait; when it succeeds, those that they need besides follow.
func (p *pool) retryLocked() {
	if p.retrying || p.waitingLocked() == 0 {
		return
	}
	p.retrying = p.gen.t.goFunc(func() {
		pause := time.NewTimer(dialPause)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-p.gen.ctx.Done():
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.retrying = false
		if p.closed == nil && p.dialing == 0 && p.waitingLocked() > 0 && len(p.conns) < p.limit {
			p.dialLocked(nil)
		}
	})
}

// knownHTTP1Locked reports whether the peer has answered with HTTP/1 although HTTP/2 was asked for.
func (p *pool) knownHTTP1Locked() bool {
	for c := range p.conns {
		return !c.h2
	}
	return false
}

// dialLocked starts a dial, for w alone if it is not nil.
func (p *pool) dialLocked(w *waiter) {
	if w == nil {
		p.dialing++
	}
	started := p.gen.t.goFunc(func() {
		c, err := p.dial(p.gen.ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		if w == nil {
			p.dialing--
		}
		if err == nil {
			if !c.gone {
				p.conns[c] = struct{}{}
				if c.h2 {
					p.shared = append(p.shared, c)
				}
			}
			if w != nil && p.dropLocked(w) {
				p.giveLocked(w, c)
			} else if c.gone { // dead already: whoever waits learns why
				if next := p.nextWaiterLocked(); next != nil {
					p.giveLocked(next, c)
				}
			} else {
				p.putLocked(c)
			}
			p.kickLocked()
			return
		}
		switch {
		case w != nil:
			if p.dropLocked(w) {
				w.ready <- grant{err: err}
			}
		case len(p.conns) > 0 && p.closed == nil && !p.draining:
			// It would have been one more. Whoever waits gets one of those that there are when an exchange on it
			// ends, or that of a later dial; when the last of them is lost, the next dial decides.
			p.retryLocked()
		default: // while the pool drains, whoever waits may do better with the generation that serves
			if next := p.nextWaiterLocked(); next != nil {
				next.ready <- grant{err: err}
			}
			p.kickLocked()
		}
	})
	if !started {
		err := &Error{Op: "dial", Kind: KindClosed, Err: ErrClosed}
		if w == nil {
			p.dialing--
			w = p.nextWaiterLocked()
		} else {
			p.dropLocked(w)
		}
		if w != nil {
			w.ready <- grant{err: err}
		}
	}
}

// dial makes a connection that is ready for HTTP.
func (p *pool) dial(ctx context.Context) (*conn, error) {
	t := p.gen.t
	e := t.entryOf(p.member)
	if e == nil {
		return nil, &Error{Op: "dial", Kind: KindNotPeer, Err: errNoPeer}
	}
	nc, raw, err := t.connect(ctx, p.gen, e, t.protocols())
	if err != nil {
		return nil, err
	}
	c := &conn{pool: p, raw: raw, born: clock()}
	given := nc
	if tc, ok := nc.(*tls.Conn); ok {
		cs := tc.ConnectionState()
		c.tls = &cs
		c.h2 = cs.NegotiatedProtocol == "h2"
	}
	if !c.h2 {
		c.app = newAppConn(nc)
		given = c.app
	}
	c.cc, err = t.factory.NewClientConn(context.WithValue(ctx, givenConn{}, given), e.scheme, e.addr)
	if err != nil {
		_ = raw.Close()
		return nil, &Error{Peer: e.peer.Name, Op: "dial", Kind: KindUnreachable, Err: err}
	}
	c.cc.SetStateHook(func(*http.ClientConn) { p.changed(c) })
	return c, nil
}

type givenConn struct{}

// given is the dial function of the factory: the connection is made already.
func given(ctx context.Context, _, _ string) (net.Conn, error) {
	return ctx.Value(givenConn{}).(net.Conn), nil
}
