package sdk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/transport"
)

// maxWidth bounds the batches of a replay that are on their way at once.
const maxWidth = 8

// replaySoon has the outbox of the peer looked through.
func (c *courier) replaySoon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replaySoonLocked()
}

func (c *courier) replaySoonLocked() {
	c.rescan = true
	if c.replaying {
		c.wake()
		return
	}
	if known, _ := c.d.carrier.knows(c.id); known {
		c.replaying = c.d.start(c.replay)
	}
}

// replay brings what waits in the outbox to the peer, in order, until nothing does. A message that the peer does
// not take is passed over and tried again later, so that it holds up no other.
func (c *courier) replay() {
	r := &replayer{c: c, held: make(map[uint64]heldBack), size: maxBatch, stream: rand.Uint64() | 1}
	r.pace.width = 1
	for r.step() {
	}
}

// A replayer is one run of replay.
type replayer struct {
	c     *courier
	after uint64              // up to here the queue is done, or held
	pass  uint64              // counts how often the queue has been looked through
	held  map[uint64]heldBack // messages that the peer did not take
	size  int                 // of batches; smaller while one to blame is looked for
	pace  pace

	stream uint64
	index  uint32
	errors int // of the store, in a row
}

// A heldBack is a message that is left alone for a while.
type heldBack struct {
	until time.Time
	times int
	seen  uint64 // the pass in which it was last found in the outbox
}

// newPass begins at the front of the queue. What is held and was not found is gone: somebody has dropped it.
func (r *replayer) newPass() {
	maps.DeleteFunc(r.held, func(_ uint64, h heldBack) bool { return h.seen != r.pass })
	r.after, r.pass = 0, r.pass+1
}

// step does one round, or waits for the next. It reports whether there is more to do.
func (r *replayer) step() bool {
	c := r.c
	known, width := c.d.carrier.knows(c.id)
	if c.d.ctx.Err() != nil || !known {
		return r.stop()
	}
	if !r.pause() {
		return r.stop()
	}
	r.pace.width = min(r.pace.width, width)
	batches, end, err := r.gather()
	if err != nil {
		if c.d.ctx.Err() != nil {
			return r.stop()
		}
		if r.errors++; r.errors == 1 {
			c.d.emit(Event{Kind: EventOutboxError, Peer: c.peer(), Err: err, Detail: "the outbox cannot be read; it is tried again"})
		}
		c.sleep(jitter(c.d.backoff(r.errors)))
		return true
	}
	r.errors = 0
	if len(batches) > 0 {
		r.round(batches)
		return true
	}
	if !end {
		return true
	}
	r.newPass()
	c.mu.Lock()
	if !c.rescan && len(r.held) == 0 {
		c.replaying, c.refusal = false, nil
		c.mu.Unlock()
		c.d.notify()
		return false
	}
	again := c.rescan
	c.rescan = false
	c.mu.Unlock()
	if !again {
		r.await()
	}
	return true
}

// stop ends the run because there is no peer to bring anything to, unless the peer is back by now. It reports
// whether to go on.
func (r *replayer) stop() bool {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, _ := c.d.carrier.knows(c.id); known && c.d.ctx.Err() == nil {
		return true
	}
	c.replaying = false
	c.giveUpLocked(reply{kind: quorum.Unsent, err: errLeft})
	return false
}

// pause waits after a failure: somewhere in the time that the number of failures gives, and not less than the
// peer asked for. An answer to somebody else's request ends it.
func (r *replayer) pause() bool {
	c := r.c
	c.mu.Lock()
	n := c.failures
	rest := max(0, time.Until(c.rest))
	c.mu.Unlock()
	if n == 0 {
		return true
	}
	t := time.NewTimer(rest + jitter(c.d.backoff(n)))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.mu.Lock()
			rest := time.Until(c.rest)
			c.mu.Unlock()
			if rest <= 0 {
				return true
			}
			t.Reset(rest) // asked for meanwhile, by the answer to a push
		case <-c.d.ctx.Done():
			return false
		case <-c.kick:
			c.mu.Lock()
			n = c.failures
			c.mu.Unlock()
			if n == 0 {
				return true
			}
		}
	}
}

// await waits for the first held message to come due, or for something new.
func (r *replayer) await() {
	var first time.Time
	for _, h := range r.held {
		if first.IsZero() || h.until.Before(first) {
			first = h.until
		}
	}
	t := time.NewTimer(time.Until(first))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.c.kick:
	case <-r.c.d.ctx.Done():
	}
}

// gather reads the next batches. end says that the queue has no more.
func (r *replayer) gather() (batches [][]*parcel, end bool, err error) {
	c := r.c
	c.mu.Lock()
	if c.rewind != 0 && c.rewind <= r.after {
		r.after = c.rewind - 1
	}
	c.rewind = 0
	width, size := r.pace.width, r.size
	if c.failures > 0 {
		width, size = 1, 1 // a probe
	}
	c.width = width
	c.mu.Unlock()
	for len(batches) < width {
		c.mu.Lock()
		c.reading = true
		c.mu.Unlock()
		entries, err := c.d.store.Read(c.d.ctx, c.id, outbox.Query{After: r.after, Messages: maxBatch, Bytes: maxBatchBytes})
		batch, expired, passed := r.choose(entries, size)
		if err != nil {
			return nil, false, err
		}
		if passed {
			return batches, false, nil
		}
		if len(entries) == 0 {
			return batches, true, nil
		}
		if len(expired) > 0 {
			r.drop(expired)
		}
		if len(batch) > 0 {
			batches = append(batches, batch)
		}
	}
	return batches, false, nil
}

// choose takes what is to be sent now, and moves on behind what it has looked at. passed says that it took nothing,
// since in order comes first what was passed over while a push had it, and left it to replay meanwhile.
func (r *replayer) choose(entries []outbox.Entry, size int) (batch []*parcel, expired []uint64, passed bool) {
	c, now := r.c, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		c.reading = false
		clear(c.stale)
	}()
	if c.d.opts.Ordered && c.rewind != 0 && c.rewind <= r.after {
		return nil, nil, true
	}
	for _, e := range entries {
		if len(batch) == size {
			break
		}
		r.after = e.Seq
		if c.d.age > 0 && now.Sub(e.Created) > c.d.age {
			expired = append(expired, e.Seq)
			for _, l := range c.live[e.Operation] {
				if l.waiting && l.seq == e.Seq {
					c.settleLocked(l, reply{kind: quorum.Unsent, err: errAged})
				}
			}
			continue
		}
		if h, ok := r.held[e.Seq]; ok && now.Before(h.until) {
			h.seen = r.pass
			r.held[e.Seq] = h
			continue
		}
		if c.acking[e.Seq] || c.stale[e.Seq] {
			continue
		}
		p := &parcel{letter: letterOf(e, c.d.sender), seq: e.Seq, known: true, refusals: e.Refusals}
		if live := c.live[e.Operation]; len(live) > 0 {
			p = nil
			for _, l := range live {
				if l.waiting && l.seq == e.Seq {
					p, l.waiting = l, false
				}
			}
			if p == nil { // on its way already
				for _, l := range live {
					if l.seq != e.Seq && (l.passed == 0 || e.Seq < l.passed) {
						l.passed = e.Seq
					}
				}
				continue
			}
		}
		batch = append(batch, p)
	}
	return batch, expired, false
}

// drop removes what has waited too long.
func (r *replayer) drop(seqs []uint64) {
	c := r.c
	if err := c.d.store.Delete(c.d.ctx, c.id, seqs...); err != nil {
		c.d.emit(Event{Kind: EventOutboxError, Peer: c.peer(), Err: err, Detail: "messages that are too old stay in the outbox"})
		return
	}
	c.d.emit(Event{Kind: EventOutboxAged, Peer: c.peer(), Detail: fmt.Sprintf("%d messages are dropped that the peer did not take within %v: it has to pull them, or to be pushed again", len(seqs), c.d.age)})
	c.d.notify()
}

// round sends batches at once and deals with the answers in order.
func (r *replayer) round(batches [][]*parcel) {
	c := r.c
	answers := make([]answer, len(batches))
	began := time.Now()
	var wg sync.WaitGroup
	for i, batch := range batches {
		t := turn0
		if len(batches) > 1 {
			t = turn{stream: r.stream, base: r.index, index: r.index + uint32(i)}
		}
		for _, p := range batch {
			if p.push != nil {
				p.push.trying(p.voter)
			}
		}
		wg.Go(func() { answers[i] = c.carry(batch, t, transport.Bulk) })
	}
	wg.Wait()
	r.index += uint32(len(batches))
	took, taken, failed := time.Since(began), 0, false
	for i, batch := range batches {
		n, ok := r.deal(batch, answers[i])
		taken += n
		failed = failed || !ok
	}
	c.flush()
	c.d.notify()
	r.pace.round(float64(taken)/took.Seconds(), len(batches), failed)
}

// deal takes the answer to one batch. It returns how many messages the peer took, and whether the request
// succeeded.
func (r *replayer) deal(batch []*parcel, a answer) (taken int, ok bool) {
	c := r.c
	if a.replies == nil && a.content && len(batch) == 1 {
		// It is this message. The peer is well.
		a.replies = []reply{a.whole}
	}
	if a.replies == nil {
		r.after = min(r.after, batch[0].seq-1)
		if a.content {
			r.size = max(1, len(batch)/2)
		}
		c.mu.Lock()
		if !a.content {
			c.failedLocked(a)
		}
		for _, p := range batch {
			if p.push != nil {
				c.settleLocked(p, a.whole)
			}
		}
		if c.failures >= downAfter {
			c.giveUpLocked(reply{kind: quorum.Unsent, err: c.lastErr})
		}
		c.mu.Unlock()
		return 0, false
	}
	c.take(batch, a)
	for i, p := range batch {
		switch rep := a.replies[i]; {
		case rep.kind == quorum.Acked:
			taken++
			delete(r.held, p.seq)
		case rep.conflict, rep.final && p.refusals+1 >= c.d.opts.QuarantineAfter:
			delete(r.held, p.seq)
		default:
			h := r.held[p.seq]
			h.times++
			h.until = time.Now().Add(jitter(c.d.backoff(h.times)))
			h.seen = r.pass
			r.held[p.seq] = h
		}
	}
	if !a.content {
		r.size = min(2*r.size, maxBatch)
	}
	return taken, true
}

// A pace is how many batches are on their way at once. It grows while that helps, and halves when it does not.
type pace struct {
	width int
	best  float64 // messages a second, the best of late
}

func (p *pace) round(rate float64, width int, failed bool) {
	switch {
	case failed:
		p.width = max(1, p.width/2)
		p.best *= 0.8
	case width < p.width:
		// The queue was too short to tell.
	case rate > p.best*1.05:
		p.best = rate
		p.width = min(p.width+1, maxWidth)
	case rate < p.best*0.8:
		p.width = max(1, p.width/2)
		p.best = rate
	default:
		p.best *= 0.99
	}
}
