package sdk

import (
	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// What a courier tells the outbox, and the outbox it.

// ackedLocked has an entry deleted from the outbox, and keeps replay, which may have read it, from sending it.
func (c *courier) ackedLocked(seq uint64) {
	c.acked = append(c.acked, seq)
	c.acking[seq] = true
}

func (c *courier) staleLocked(seq uint64) {
	if c.reading {
		c.stale[seq] = true
	}
}

// recorded tells where in the outbox a message stands: seq 0 without an error says that the queue is full.
func (c *courier) recorded(p *parcel, seq uint64, err error) {
	c.mu.Lock()
	p.known, p.seq = true, seq
	if p.acked {
		c.forgetLocked(p)
	}
	full := false
	switch {
	case seq != 0:
		c.full = false
		if p.acked {
			c.ackedLocked(seq)
		} else if p.settled || p.waiting {
			c.returnLocked(seq)
		}
	case err == nil:
		full, c.full = !c.full, true
		err = errOutboxFull
	}
	if err != nil && p.waiting { // nothing will bring it
		c.settleLocked(p, reply{kind: quorum.Unsent, err: err})
	}
	flush := len(c.acked) > 0 && !c.flushing
	c.mu.Unlock()
	if full {
		c.d.emit(Event{Kind: EventOutboxFull, Peer: c.peer(), Err: errOutboxFull, Detail: "messages are no longer recorded for the peer: what it misses from now on it has to pull, or to be pushed again"})
	}
	if flush {
		c.flush()
	}
}

// flush deletes what the peer has acked. One goroutine does it at a time, for all. What the store fails to delete
// is not sent again; it is deleted later.
func (c *courier) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushing || c.retrying {
		return
	}
	c.flushing = true
	for len(c.acked) > 0 && !c.retrying {
		seqs := c.acked
		c.acked = nil
		c.mu.Unlock()
		err := c.d.store.Delete(c.d.late, c.id, seqs...)
		c.mu.Lock()
		if err != nil {
			c.acked = append(seqs, c.acked...)
			c.undeletedLocked(err)
			break
		}
		c.undeleted = 0
		for _, seq := range seqs {
			delete(c.acking, seq)
			c.staleLocked(seq)
		}
	}
	c.flushing = false
}

// undeletedLocked has what could not be deleted tried again after a pause.
func (c *courier) undeletedLocked(err error) {
	if c.undeleted++; c.undeleted == 1 {
		c.d.emit(Event{Kind: EventOutboxError, Peer: c.peer(), Err: err, Detail: "messages that the peer has acked stay in the outbox until the store deletes them"})
	}
	pause := jitter(c.d.backoff(c.undeleted))
	c.retrying = c.d.start(func() {
		c.sleep(pause)
		c.mu.Lock()
		c.retrying = false
		c.mu.Unlock()
		c.flush()
		c.d.notify()
	})
}

// refuse counts permanent refusals, and sets aside what has had too many.
func (c *courier) refuse(parcels []*parcel, replies []reply) {
	marks := make([]outbox.Mark, len(parcels))
	var aside []string
	for i, p := range parcels {
		m := outbox.Mark{Seq: p.seq, Refusals: p.refusals + 1}
		if replies[i].err != nil {
			m.Reason = replies[i].err.Error()
		}
		if m.Quarantined = replies[i].conflict || m.Refusals >= c.d.opts.QuarantineAfter; m.Quarantined {
			aside = append(aside, p.Operation+": "+m.Reason)
		}
		marks[i] = m
	}
	if err := c.d.store.Mark(c.d.late, c.id, marks...); err != nil {
		c.d.emit(Event{Kind: EventOutboxError, Peer: c.peer(), Err: err, Detail: "refusals could not be counted"})
		return
	}
	for _, what := range aside {
		c.d.emit(Event{Kind: EventQuarantined, Peer: c.peer(), Detail: "the peer does not take a message, which is set aside: see Federation.Quarantined: " + what})
	}
	if len(aside) > 0 {
		c.d.notify()
	}
}
