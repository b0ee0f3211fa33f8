package transport

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A rawConn is a TCP connection, in either direction, under its TLS. It is where a connection can be closed at
// once, and where its end is learned.
type rawConn struct {
	net.Conn
	t        *Transport
	inbound  bool
	member   *member      // outbound: whose
	lastRead atomic.Int64 // time of the last bytes, by clock()
	cut      atomic.Pointer[Error]
	closed   atomic.Bool
	timer    *time.Timer // inbound: bounds the handshake
	refuse   atomic.Bool // inbound: the handshake was refused

	// guarded by live.mu
	seq        uint64 // of the snapshot that accepted it last
	certs      []*x509.Certificate
	accepted   verdict
	distrusted string // key of what was distrusted then
}

func (c *rawConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.lastRead.Store(clock())
	}
	return n, err
}

// Close forgets and closes the connection.
func (c *rawConn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	c.t.live.forget(c)
	if c.refuse.Load() {
		c.t.linger(c.Conn)
		return nil
	}
	return c.Conn.Close()
}

// linger closes a refused inbound connection, but not before the client, which may be writing a request already,
// has had time to read why: closing at once would have the system throw away the alert.
func (t *Transport) linger(c net.Conn) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || !t.lingering.tryAcquire() {
		_ = c.Close()
		return
	}
	if !t.goFunc(func() {
		defer t.lingering.release()
		defer c.Close()
		stop := context.AfterFunc(t.ctx, func() { _ = c.Close() })
		defer stop()
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c, maxLingerBytes)
	}) {
		t.lingering.release()
		_ = c.Close()
	}
}

const (
	lingerTime     = 500 * time.Millisecond
	maxLingerBytes = 256 << 10
	maxLingering   = 64
)

// sever closes the connection for a reason; what is still unsent is thrown away.
func (c *rawConn) sever(why *Error) {
	c.cut.CompareAndSwap(nil, why)
	if tc, ok := c.Conn.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	_ = c.Close()
}

var clockBase = time.Now()

// clock is a cheap monotonic time.
func clock() int64 { return int64(time.Since(clockBase)) }

// live is the set of verified connections, in both directions.
type live struct {
	mu      sync.Mutex
	conns   map[*rawConn]struct{}
	inbound int
	closed  bool
}

// admit puts c in the set, as accepted by the snapshot seq. It reports false if the set is closed.
func (l *live) admit(c *rawConn, certs []*x509.Certificate, v verdict, s *snapshot) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || c.closed.Load() {
		return false
	}
	if _, again := l.conns[c]; !again {
		l.conns[c] = struct{}{}
		if c.inbound {
			l.inbound++
		}
	}
	c.certs, c.accepted, c.seq, c.distrusted = certs, v, s.seq, s.distrustedKey
	return true
}

func (l *live) forget(c *rawConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; ok {
		delete(l.conns, c)
		if c.inbound {
			l.inbound--
		}
	}
}

func (l *live) countInbound() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inbound
}

// close severs all and admits no more.
func (l *live) close() {
	l.mu.Lock()
	l.closed = true
	all := l.list()
	l.mu.Unlock()
	for _, c := range all {
		c.sever(&Error{Op: "exchange", Kind: KindClosed, Err: ErrClosed})
	}
}

func (l *live) list() []*rawConn {
	all := make([]*rawConn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// recheck verifies every connection against s, severs those that fail, and returns how many they were.
func (t *Transport) recheck(s *snapshot) int {
	l := &t.live
	l.mu.Lock()
	jobs := make(chan judged, len(l.conns))
	for c := range l.conns {
		jobs <- judged{c, c.certs, c.accepted, c.distrusted == s.distrustedKey}
	}
	l.mu.Unlock()
	close(jobs)
	now := time.Now()
	var cut atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(jobs)/32+1) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rechecker{t: t, s: s, now: now, failed: make(map[failedKey]error)}
			for j := range jobs {
				if r.check(j) {
					cut.Add(1)
				}
			}
		}()
	}
	wg.Wait()
	return int(cut.Load())
}

// judged is a live connection with what it was accepted for.
type judged struct {
	c     *rawConn
	certs []*x509.Certificate
	prev  verdict
	same  bool // nothing was distrusted since
}

// A rechecker remembers what failed: connections of one peer tend to bear one certificate, and a chain that leads
// nowhere is the dearest to verify.
type rechecker struct {
	t      *Transport
	s      *snapshot
	now    time.Time
	failed map[failedKey]error
}

type failedKey struct {
	member  *member // nil: inbound
	inbound bool
	chain   [32]byte
}

// check reports whether it severed the connection.
func (r *rechecker) check(j judged) bool {
	l := &r.t.live
	e := r.s.byMember[j.prev.entry.member]
	if j.same && e != nil && e.scope == j.prev.entry.scope && e.policy == j.prev.entry.policy && !j.c.inbound {
		l.accept(j.c, verdict{e, j.prev.chain, j.prev.until}, r.s)
		return false
	}
	key := failedKey{j.c.member, j.c.inbound, chainKey(j.certs)}
	err := r.failed[key]
	if err == nil {
		var v verdict
		if v, err = r.t.again(r.s, j.c, j.certs, j.prev.chain, r.now); err == nil {
			l.accept(j.c, v, r.s)
			return false
		}
		r.failed[key] = err
	}
	r.t.cutConn(j.c, j.prev.entry, err)
	return true
}

// again verifies a live connection. The time of an outbound one is held before its certificates' end: such a
// connection leaves service by itself, without a cut.
func (t *Transport) again(s *snapshot, c *rawConn, certs, prev []*x509.Certificate, now time.Time) (verdict, error) {
	if c.inbound {
		return s.verifyInbound(certs, prev, now)
	}
	e := s.byMember[c.member]
	if e == nil {
		return verdict{}, errNoPeer
	}
	if e.scope == nil {
		return verdict{entry: e}, nil
	}
	for _, x := range certs {
		if now.After(x.NotAfter) {
			now = x.NotAfter
		}
	}
	return s.verifyOutbound(e, certs, prev, now)
}

func (l *live) accept(c *rawConn, v verdict, s *snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.seq <= s.seq {
		c.accepted, c.seq, c.distrusted = v, s.seq, s.distrustedKey
	}
}

func (t *Transport) cutConn(c *rawConn, e *entry, why error) {
	err := &Error{Peer: e.peer.Name, Op: "exchange", Kind: KindCut, Err: why}
	t.cuts.Add(1)
	c.sever(err)
	t.event(Event{Type: EventCut, Peer: e.peer.Name, Inbound: c.inbound, Err: why})
}
