package transport

import (
	"fmt"
	"time"
)

// janitor does what the passing of time demands: it closes idle connections, forgets those that a server closed, takes
// those out of service whose certificates ended, and tells of CRLs that nobody renewed.
func (t *Transport) janitor() {
	every := min(15*time.Second, max(t.opts.IdleTimeout/4, 10*time.Millisecond))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
			t.sweep(time.Now())
		}
	}
}

func (t *Transport) sweep(now time.Time) {
	for _, g := range t.generations() {
		g.refreshTicketKey(now)
		for _, p := range g.list() {
			if n := p.sweep(now); n > 0 {
				t.event(Event{Type: EventPeerExpired, Peer: t.nameOf(p.member), Generation: g.id, N: n})
			}
		}
	}
	t.mu.Lock()
	adopters := t.adopters
	t.mu.Unlock()
	for _, a := range adopters {
		a.sweep()
	}
	s := t.snap.Load()
	if s == nil {
		return
	}
	t.tellStale(s, now)
	t.update.Lock()
	defer t.update.Unlock()
	if s == t.snap.Load() {
		t.expire(s, now)
	}
}

// expire verifies again the connections whose verdict ran out: inbound ones whose certificates ended, and with
// strict CRLs those that a stale list covers.
func (t *Transport) expire(s *snapshot, now time.Time) {
	l := &t.live
	l.mu.Lock()
	var due []*rawConn
	for c := range l.conns {
		if !c.accepted.until.IsZero() && now.After(c.accepted.until) && (c.inbound || s.strict) {
			due = append(due, c)
		}
	}
	l.mu.Unlock()
	for _, c := range due {
		l.mu.Lock()
		certs, prev := c.certs, c.accepted
		l.mu.Unlock()
		v, err := t.again(s, c, certs, prev.chain, now)
		if err != nil {
			t.cutConn(c, prev.entry, err)
			continue
		}
		l.accept(c, v, s)
	}
}

func (t *Transport) nameOf(m *member) string {
	if e := t.entryOf(m); e != nil {
		return e.peer.Name
	}
	return ""
}

// tellStale emits an event for each CRL past its next update, once.
func (t *Transport) tellStale(s *snapshot, now time.Time) {
	for _, sc := range s.scopes {
		for _, lists := range sc.crls {
			for _, c := range lists {
				next := c.list.NextUpdate
				if next.IsZero() || now.Before(next) || c.stale.Swap(true) {
					continue
				}
				t.event(Event{Type: EventCRLStale, Err: fmt.Errorf("CRL of %q was to be renewed at %s; it stays in force",
					c.list.Issuer.String(), next.UTC().Format(time.RFC3339))})
			}
		}
	}
}
