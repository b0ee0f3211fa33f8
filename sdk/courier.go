package sdk

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/transport"
)

// A courier brings messages to one peer: new ones at once, those in the outbox in order.
type courier struct {
	d    *delivery
	id   string
	name atomic.Pointer[string]
	kick chan struct{} // wakes replay

	mu        sync.Mutex
	busy      int                  // requests with pushes on their way
	pending   []*parcel            // wait for a request
	pendingBy int                  // their bytes
	live      map[string][]*parcel // by operation: what is being sent, pends, is left to replay by a push, or is acked and being recorded
	acked     []uint64             // to be deleted from the outbox
	undeleted int                  // how often in a row the outbox failed to
	retrying  bool                 // it is asked again after a pause
	acking    map[uint64]bool      // acked, and in the outbox until it has deleted them
	reading   bool                 // replay has read entries that it has not looked at yet
	stale     map[uint64]bool      // settled since: what was read of them is out of date
	flushing  bool
	replaying bool
	rescan    bool   // there may be entries that replay has passed
	rewind    uint64 // the first of these, if it is known; 0 otherwise
	failures  int    // in a row, of whole requests
	lastErr   error
	refusal   error     // of the last message that the peer answered and did not take, while one waits
	rest      time.Time // until then the peer asked not to be sent what waits
	full      bool      // the last message did not fit into the outbox
	fastest   time.Duration
	fastestAt time.Time
	width     int // of replay, for Status
}

func (c *courier) peer() string { return *c.name.Load() }

// expect keeps replay from sending a message that is about to be recorded and offered.
func (c *courier) expect(p *parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live[p.Operation] = append(c.live[p.Operation], p)
}

// offer takes a message that is expected: it is sent now, with others as soon as there is room, or by replay.
func (c *courier) offer(p *parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.settled { // its recording failed before it was offered
		return
	}
	switch {
	case c.d.opts.Ordered && c.replaying:
		c.leaveLocked(p)
	case c.busy < c.windowLocked():
		c.busy++
		if !c.d.start(func() { c.run([]*parcel{p}) }) {
			c.busy--
		}
	case len(c.pending) < maxPending && c.pendingBy+len(p.Body) <= maxPendingBytes:
		c.pending = append(c.pending, p)
		c.pendingBy += len(p.Body)
	default:
		c.leaveLocked(p)
	}
}

// coldWindow is the window for a peer that has not answered yet.
const coldWindow = 4

// windowLocked is how many requests go to the peer at once before messages share them. A near peer needs few:
// sharing then costs a fraction of a millisecond and saves most of the work.
func (c *courier) windowLocked() int {
	if c.failures >= downAfter || c.d.opts.Ordered {
		return 1 // a probe, or one after the other
	}
	if c.fastest == 0 {
		return min(coldWindow, c.d.opts.InFlight) // a crowd at the start would be a crowd of handshakes
	}
	return min(2+int(c.fastest/time.Millisecond), c.d.opts.InFlight)
}

// leaveLocked leaves a message to replay.
func (c *courier) leaveLocked(p *parcel) {
	if p.known && p.seq == 0 { // nothing will bring it
		c.settleLocked(p, reply{kind: quorum.Unsent, err: errOutboxFull})
		return
	}
	if len(c.live) > maxLive {
		c.settleLocked(p, reply{kind: quorum.Unsent, err: errBehind})
		return
	}
	p.waiting = true
	if p.known {
		c.returnLocked(p.seq)
	}
}

// returnLocked gives an entry of the outbox back to replay, at its place.
func (c *courier) returnLocked(seq uint64) {
	if c.rewind == 0 || seq < c.rewind {
		c.rewind = seq
	}
	c.replaySoonLocked()
}

// run sends batches until nothing pends.
func (c *courier) run(batch []*parcel) {
	for len(batch) > 0 {
		c.send(batch)
		c.mu.Lock()
		if batch = c.nextLocked(); batch == nil {
			c.busy--
		}
		c.mu.Unlock()
		c.flush()
	}
	c.d.notify()
}

// nextLocked takes what goes into the next request.
func (c *courier) nextLocked() []*parcel {
	if c.failures >= downAfter {
		// The probe has failed. What was to follow it waits in the outbox, and nobody waits for it here.
		down := reply{kind: quorum.Unsent, err: c.lastErr}
		for _, p := range c.pending {
			c.settleLocked(p, down)
		}
		c.pending, c.pendingBy = nil, 0
		c.giveUpLocked(down)
		return nil
	}
	if c.d.opts.Ordered && c.replaying {
		for _, p := range c.pending {
			c.leaveLocked(p)
		}
		c.pending, c.pendingBy = nil, 0
		return nil
	}
	n, size := 0, 0
	for n < len(c.pending) && n < maxBatch {
		if size += len(c.pending[n].Body); n > 0 && size > maxBatchBytes {
			break
		}
		n++
	}
	if n == 0 {
		return nil
	}
	batch := c.pending[:n:n]
	c.pending = c.pending[n:]
	for _, p := range batch {
		c.pendingBy -= len(p.Body)
	}
	if len(c.pending) == 0 {
		c.pending = nil
	}
	return batch
}

// giveUpLocked settles what pushes have left to replay, which brings it nowhere for now. It stays in the outbox.
func (c *courier) giveUpLocked(r reply) {
	for _, ps := range c.live {
		for _, p := range ps {
			if p.waiting {
				c.settleLocked(p, r)
			}
		}
	}
}

// send brings a batch of pushes to the peer, with one retry where somebody waits for it and it can help.
func (c *courier) send(batch []*parcel) {
	for _, p := range batch {
		p.push.trying(p.voter)
	}
	began := time.Now()
	a := c.carry(batch, turn0, transport.Quorum)
	if pause, ok := c.worthRetry(batch, a, time.Since(began)); ok && c.sleep(pause) {
		for _, p := range batch {
			p.push.trying(p.voter)
		}
		again := c.carry(batch, turn0, transport.Quorum)
		if again.replies == nil && a.whole.kind == quorum.Unknown && again.whole.kind == quorum.Unsent {
			again.whole.kind = quorum.Unknown // the first request may have arrived
		}
		a = again
	}
	c.take(batch, a)
}

func (c *courier) carry(batch []*parcel, t turn, lane transport.Lane) answer {
	ctx, cancel := context.WithTimeout(c.d.ctx, c.d.timeout)
	defer cancel()
	letters := make([]*letter, len(batch))
	for i, p := range batch {
		letters[i] = p.letter
	}
	began := time.Now()
	a := c.d.carrier.carry(ctx, c.id, letters, t, lane)
	if a.replies != nil {
		c.sawTime(time.Since(began))
	}
	return a
}

// worthRetry says whether, and after which pause, a second attempt within the deadline can help: the peer has
// been answering, the failure may pass, and there is time for a pause and an answer of the usual length.
func (c *courier) worthRetry(batch []*parcel, a answer, took time.Duration) (time.Duration, bool) {
	if a.replies != nil || a.whole.final || a.content || a.whole.kind == quorum.Drifted {
		return 0, false
	}
	c.mu.Lock()
	usual, failures := c.fastest, c.failures
	c.mu.Unlock()
	if failures > 0 {
		return 0, false
	}
	pause := max(a.after, min(max(took/4, 10*time.Millisecond), 250*time.Millisecond))
	for _, p := range batch {
		if left, waits := p.push.left(); waits && left > pause+2*usual {
			return pause, true
		}
	}
	return 0, false
}

// take deals with the answer to a batch.
func (c *courier) take(batch []*parcel, a answer) {
	c.mu.Lock()
	switch {
	case a.replies != nil:
		c.succeededLocked()
	case !a.content:
		c.failedLocked(a)
	}
	c.noteLocked(a.replies)
	one := a.replies != nil || len(batch) == 1 // each message has an answer of its own
	var marks []*parcel
	var replies []reply
	same := false
	for i, p := range batch {
		r := a.whole
		if a.replies != nil {
			r = a.replies[i]
		}
		if one && r.final && p.known && p.seq != 0 {
			marks, replies = append(marks, p), append(replies, r)
			continue
		}
		same = c.settleLocked(p, r) || same
	}
	c.mu.Unlock()
	if len(marks) > 0 {
		c.refuse(marks, replies) // before replay sees them again
		c.mu.Lock()
		for i, p := range marks {
			c.settleLocked(p, replies[i])
		}
		c.mu.Unlock()
	}
	if same {
		c.d.emit(Event{Kind: EventSameNode, Peer: c.peer(), Detail: "its ack came from an identity that was counted already: the peer's URL leads to another peer, or back to this node"})
	}
}

// settleLocked is the last word about a message for now. It reports whether the ack came from an identity
// that was counted already.
func (c *courier) settleLocked(p *parcel, r reply) (duplicate bool) {
	if p.settled {
		return false
	}
	p.settled, p.waiting, p.acked = true, false, r.kind == quorum.Acked
	if p.known || !p.acked {
		c.forgetLocked(p)
	} // else replay may find it in the outbox before recorded is told that it is there
	if p.acked {
		if p.known && p.seq != 0 {
			c.ackedLocked(p.seq)
		}
	} else if p.known && p.seq != 0 {
		c.staleLocked(p.seq)
		c.returnLocked(p.seq)
	}
	if p.push != nil {
		duplicate = p.push.settle(p.voter, r)
	}
	return duplicate
}

// forgetLocked lets replay send the operation again, and has it return to what it has passed meanwhile.
func (c *courier) forgetLocked(p *parcel) {
	if p.passed != 0 {
		c.returnLocked(p.passed)
	}
	ps := c.live[p.Operation]
	for i := range ps {
		if ps[i] == p {
			ps = append(ps[:i:i], ps[i+1:]...)
			break
		}
	}
	if len(ps) == 0 {
		delete(c.live, p.Operation)
	} else {
		c.live[p.Operation] = ps
	}
}

// noteLocked keeps, for Status, why the peer did not take a message, until it takes all of a batch and nothing is
// left to replay.
func (c *courier) noteLocked(replies []reply) {
	for _, r := range slices.Backward(replies) {
		if r.kind != quorum.Acked && r.err != nil {
			c.refusal = r.err
			return
		}
	}
	if replies != nil && !c.replaying {
		c.refusal = nil
	}
}

// failedLocked counts a request that failed as a whole.
func (c *courier) failedLocked(a answer) {
	if errors.Is(a.whole.err, errLeft) {
		return // it has not failed; it is not there
	}
	c.failures++
	c.lastErr = a.whole.err
	if rest := time.Now().Add(a.after); a.after > 0 && rest.After(c.rest) {
		c.rest = rest
	}
	if c.failures == downAfter {
		c.d.emit(Event{Kind: EventPeerDown, Peer: c.peer(), Err: a.whole.err, Detail: "the peer takes nothing; messages wait in the outbox, and it is probed from time to time"})
	}
}

func (c *courier) succeededLocked() {
	if c.failures >= downAfter {
		c.d.emit(Event{Kind: EventRecovered, Peer: c.peer(), Detail: "the peer takes messages again"})
	}
	if c.failures > 0 {
		c.failures, c.lastErr, c.rest = 0, nil, time.Time{}
		c.wake()
	}
}

// sawTime keeps the fastest answer of the last half minute or so.
func (c *courier) sawTime(d time.Duration) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fastest == 0 || d < c.fastest || now.Sub(c.fastestAt) > 30*time.Second {
		c.fastest, c.fastestAt = max(d, 1), now
	}
}

func (c *courier) isBusy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy > 0 || c.flushing
}

func (c *courier) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// sleep reports whether the time passed before the engine was closed.
func (c *courier) sleep(d time.Duration) bool {
	if d <= 0 {
		return c.d.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.d.ctx.Done():
		return false
	}
}
