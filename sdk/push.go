package sdk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
)

// The verdicts of an application, as quorum has them.
const (
	Applied = quorum.Applied // the message changed something
	Noop    = quorum.Noop    // the node already had what the message says
)

// LocalPeer is the name of this node among the outcomes of a push.
const LocalPeer = "local"

// Push sends a message, which the caller has committed locally, to all peers at once, and returns when W of
// the N nodes have it, this node counted as one. It records the message in the outbox for every peer
// while it sends; what a peer acks leaves the outbox, what it does not is replayed later, whether Push
// succeeds or not. When Push returns, sending to the other peers goes on.
//
// The wait ends at Policy().AckTimeout, or with ctx if that is sooner; neither ends the delivery. When W can
// no longer be reached, Push returns before that. It then returns a *quorum.NotMetError, which says why and
// what became of the message at each node. An error that matches ErrMessage means that nothing was recorded
// or sent; one of the outbox, that the message was sent and not recorded. ctx reaches the outbox, so that a
// store of the caller's can commit its transaction with the record (outbox.Store).
//
// Pushing the same operation with the same body again is safe at any time. A new push may overtake older
// messages that wait in the outbox, unless PushOptions.Ordered is set. Push is safe for concurrent use;
// concurrent pushes to one peer share requests when there are many.
func (f *Federation) Push(ctx context.Context, m Message) (*quorum.Result, error) {
	if f.isEnding() {
		return nil, closedError("push")
	}
	state := f.state.Load()
	m, err := m.validate(state.speaksMemory())
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sdk: push %s: %w", m.Operation, err)
	}
	return f.delivery.push(ctx, newLetter(m, f.sender(), time.Now()), state.policy, state.refs(), f.localAck)
}

// sender is what this node calls itself in messages and acks.
func (f *Federation) sender() string {
	if id := f.ID(); id != "" {
		return id
	}
	return "anonymous"
}

// A peerRef names a peer to the engine.
type peerRef struct{ name, id string }

func (r *roster) refs() []peerRef {
	refs := make([]peerRef, len(r.members))
	for i, m := range r.members {
		refs[i] = peerRef{name: m.Name, id: m.ID}
	}
	return refs
}

// localAck makes this node's own ack of a message that it has committed, signed if it has a key.
func (f *Federation) localAck(ctx context.Context, l *letter) (*quorum.Ack, quorum.Identity, error) {
	ack := &quorum.Ack{
		Operation: l.Operation, Digest: l.digest, Sender: l.sender, Recipient: l.sender,
		Verdict: quorum.Applied, Time: l.created,
	}
	who := quorum.Identity{TLS: f.serving.Load().spki()}
	err := f.signAcks(ctx, ack)
	if ack.Proof != nil {
		who.Key = ack.Proof.KeyID
	}
	if who == (quorum.Identity{}) {
		who.TLS = LocalPeer
	}
	return ack, who, err
}

// A localAcker makes the local node's ack.
type localAcker func(ctx context.Context, l *letter) (*quorum.Ack, quorum.Identity, error)

// push runs one push through the engine.
func (d *delivery) push(ctx context.Context, l *letter, policy quorum.Policy, peers []peerRef, local localAcker) (*quorum.Result, error) {
	p := newPush(l, policy, peers)
	wait, cancel := context.WithDeadline(ctx, p.deadline)
	defer cancel()

	parcels := make([]*parcel, len(peers))
	for i, ref := range peers {
		parcels[i] = &parcel{letter: l, push: p, voter: i + 1}
		p.couriers[i] = d.courier(ref)
		p.couriers[i].expect(parcels[i])
	}
	// With a store that answers at once, and where order matters, recording comes first, and with any other beside
	// the sending. A wait that ends does not end the recording: what is recorded after all has to be known.
	if d.instant {
		d.record(ctx, p, parcels)
	} else {
		done := make(chan struct{})
		if !d.start(func() {
			defer close(done)
			recording, end := d.outlive(ctx)
			defer end()
			d.record(recording, p, parcels)
		}) {
			return nil, closedError("push")
		}
		if d.opts.Ordered {
			select {
			case <-done:
			case <-wait.Done():
			}
		}
	}
	for i, c := range p.couriers {
		c.offer(parcels[i])
	}

	ack, who, err := local(wait, l)
	r := reply{kind: quorum.Acked, verdict: quorum.Applied, ack: ack, identity: who}
	if err != nil {
		r = reply{kind: quorum.Unsent, err: fmt.Errorf("this node's own ack: %w", err)}
	}
	p.settle(0, r)

	select {
	case <-p.decided:
	case <-wait.Done():
	case <-d.ctx.Done():
	}
	return p.conclude(ctx, d)
}

// record writes the message to the outbox for every peer, and tells each parcel where it stands.
func (d *delivery) record(ctx context.Context, p *push, parcels []*parcel) {
	ids := make([]string, len(parcels))
	for i, c := range p.couriers {
		ids[i] = c.id
	}
	seqs, err := d.store.Append(ctx, p.letter.forOutbox(), ids)
	if err == nil && len(seqs) != len(ids) {
		err = fmt.Errorf("outbox: Append returned %d seqs for %d peers", len(seqs), len(ids))
	}
	for i, c := range p.couriers {
		if err != nil {
			c.recorded(parcels[i], 0, err)
			continue
		}
		c.recorded(parcels[i], seqs[i], nil)
	}
	p.setRecorded(seqs, err)
}

// A push is one call of Push, from its start until its last straggler has settled.
type push struct {
	letter   *letter
	policy   quorum.Policy
	start    time.Time
	deadline time.Time
	couriers []*courier
	decided  chan struct{} // closed when there is nothing more to wait for

	mu        sync.Mutex
	tally     *quorum.Tally
	outcomes  []quorum.Outcome // 0 is the local node
	recorded  bool
	recordErr error
	done      bool
	ended     time.Time
}

func newPush(l *letter, policy quorum.Policy, peers []peerRef) *push {
	now := time.Now()
	p := &push{
		letter: l, policy: policy, start: now, deadline: now.Add(policy.AckTimeout),
		couriers: make([]*courier, len(peers)),
		decided:  make(chan struct{}),
		tally:    quorum.NewTally(policy),
		outcomes: make([]quorum.Outcome, 1+len(peers)),
	}
	p.outcomes[0] = quorum.Outcome{Peer: LocalPeer, ID: l.sender, Recorded: true}
	for i, ref := range peers {
		p.outcomes[i+1] = quorum.Outcome{Peer: ref.name, ID: ref.id}
	}
	return p
}

// trying notes that a request with the message is on its way to a peer.
func (p *push) trying(voter int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcomes[voter].Kind = quorum.Unknown
	p.outcomes[voter].Attempts++
}

// settle takes the last word about one node. It reports whether the ack of an identity counted already came.
func (p *push) settle(voter int, r reply) (duplicate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := &p.outcomes[voter]
	o.Kind, o.Verdict, o.Ack, o.Err = r.kind, r.verdict, r.ack, r.err
	o.Elapsed = time.Since(p.start)
	if r.kind == quorum.Acked {
		o.Counted = p.tally.Ack(voter, r.identity)
		if duplicate = !o.Counted; duplicate && o.Err == nil {
			o.Err = quorum.ErrSameIdentity
		}
	} else {
		p.tally.Fail(voter)
	}
	p.decideLocked()
	return duplicate
}

func (p *push) setRecorded(seqs []uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recorded, p.recordErr = true, err
	for i, seq := range seqs {
		if err == nil && i+1 < len(p.outcomes) {
			p.outcomes[i+1].Recorded = seq != 0
		}
	}
	p.decideLocked()
}

func (p *push) decideLocked() {
	if p.done || !p.recorded || p.tally.State() == quorum.Pending && p.recordErr == nil {
		return
	}
	p.done, p.ended = true, time.Now()
	close(p.decided)
}

// left is the time until the deadline, and whether anybody still waits.
func (p *push) left() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.deadline), !p.done
}

// conclude says how it went, as it stands.
func (p *push) conclude(ctx context.Context, d *delivery) (*quorum.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := !p.done
	if late {
		p.done, p.ended = true, time.Now()
	}
	outcomes := append([]quorum.Outcome(nil), p.outcomes...)
	switch {
	case p.recordErr != nil:
		return nil, fmt.Errorf("sdk: push %s: the outbox did not record it: %w", p.letter.Operation, p.recordErr)
	case p.recorded && p.tally.State() == quorum.Met:
		return p.result(outcomes), nil
	}
	e := &quorum.NotMetError{
		Got: p.tally.Acked(), Need: p.tally.Need(), Outcomes: outcomes,
		Reason: quorum.ReasonFor(outcomes, late), Err: ctx.Err(),
	}
	switch {
	case d.ctx.Err() != nil:
		e.Err = closedError("push")
	case late && p.tally.State() == quorum.Met:
		e.Err = errors.Join(e.Err, errors.New("the outbox had not recorded it in time"))
	case late && e.Err == nil:
		e.Err = context.DeadlineExceeded
	}
	return nil, fmt.Errorf("sdk: push %s: %w", p.letter.Operation, e)
}

// result is a push that met its quorum. The lock is held.
func (p *push) result(outcomes []quorum.Outcome) *quorum.Result {
	r := &quorum.Result{
		Operation: p.letter.Operation, Digest: p.letter.digest,
		N: p.policy.N, W: p.policy.Writes, Acked: p.tally.Acked(),
		Elapsed: p.ended.Sub(p.start), Outcomes: outcomes,
	}
	receipt := &quorum.Receipt{Operation: r.Operation, Digest: r.Digest, Sender: p.letter.sender, Writes: r.W}
	unproven := ""
	for _, o := range outcomes {
		switch {
		case !o.Counted:
		case o.Ack == nil:
			unproven = "the wire of peer " + o.Peer + " has no signed acks"
		case o.Ack.Proof == nil && o.Peer == LocalPeer:
			unproven = "this node has no signing key"
		case o.Ack.Proof == nil:
			unproven = "peer " + o.Peer + " has no signing key"
		default:
			receipt.Acks = append(receipt.Acks, o.Ack)
		}
	}
	if len(receipt.Acks) >= r.W {
		r.Receipt = receipt
	} else {
		r.Unproven = unproven
	}
	return r
}
