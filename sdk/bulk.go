package sdk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// ErrCursor is what Inbound.Pull returns for a cursor that it does not know, and what Pull's error matches when
// a peer says so: begin again without one.
var ErrCursor = errors.New("unknown cursor")

// bulkAttempts is how often PushAll and Pull try a request before they give a peer up.
const bulkAttempts = 6

// BulkOptions are the options of PushAll.
type BulkOptions struct {
	// Peers names the peers, by name or ID, each once however often it is named. Default: all.
	Peers []string
	// Progress is called after every batch, and for messages that cannot be sent with those around them, one call at a
	// time for each peer, concurrently for different ones.
	Progress func(BulkProgress)
}

// A BulkProgress is what became of one batch, and of the messages among it that cannot be sent.
type BulkProgress struct {
	Peer     string
	Outcomes []BulkOutcome // one for each message, in order
	Done     int           // messages settled so far, these included
	Acked    int           // of those, acked
}

// A BulkOutcome is what became of one message.
type BulkOutcome struct {
	Operation string
	Kind      quorum.Kind
	Verdict   quorum.Verdict // of an acked one
	Ack       *quorum.Ack    // of an acked one; nil on a wire without acks
	Err       error          // why it is not acked
}

// A BulkResult is what became of a PushAll at one peer.
type BulkResult struct {
	Peer           string
	Done           int // messages settled
	Applied, Noops int
	Failed         []BulkOutcome // those that were not acked, the first 1,000
	Err            error         // why it ended before all were settled
}

const maxFailed = 1000

// PushAll brings many messages to peers that have missed them, on the bulk lane, where they hold up no quorum
// push. It ranges over messages once for each peer, concurrently, and sends to each in order and in batches of up
// to 64 messages or 256 KiB. Nothing is recorded in the outbox: what fails is in the results, one for each peer.
//
// A peer that cannot be reached is tried again a few times and then given up. The error joins why peers were given
// up; ctx bounds it all.
func (f *Federation) PushAll(ctx context.Context, messages iter.Seq[Message], opts BulkOptions) ([]BulkResult, error) {
	members, err := f.choosePeers(opts.Peers)
	if err != nil {
		return nil, fmt.Errorf("sdk: push all: %w", err)
	}
	results := make([]BulkResult, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		results[i].Peer = m.Name
		wg.Go(func() { results[i].Err = f.pushAllTo(ctx, m, messages, opts.Progress, &results[i]) })
	}
	wg.Wait()
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("peer %s: %w", r.Peer, r.Err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return results, fmt.Errorf("sdk: push all: %w", err)
	}
	return results, nil
}

func (f *Federation) choosePeers(names []string) ([]*member, error) {
	if f.isEnding() {
		return nil, closedError("bulk")
	}
	state := f.state.Load()
	if len(names) == 0 {
		return state.members, nil
	}
	var members []*member
	for _, name := range names {
		m := state.byID[f.peerID(name)]
		if m == nil {
			return nil, fmt.Errorf("there is no peer %q: %w", name, ErrNotFound)
		}
		if !slices.Contains(members, m) {
			members = append(members, m)
		}
	}
	return members, nil
}

func (f *Federation) pushAllTo(ctx context.Context, m *member, messages iter.Seq[Message], progress func(BulkProgress), result *BulkResult) error {
	b := bulk{f: f, m: m, progress: progress, result: result}
	for msg := range messages {
		msg, err := msg.validate(m.Wire == signer.WireAIMemory)
		if err == nil && (len(b.letters) == maxBatch || len(b.letters) > 0 && b.size+len(msg.Body) > maxBatchBytes) || len(b.outcomes) == maxOutcomes {
			if err := b.send(ctx); err != nil {
				return err
			}
		}
		b.outcomes = append(b.outcomes, BulkOutcome{Operation: msg.Operation, Kind: quorum.Unsent, Err: err})
		if err == nil {
			b.letters, b.at = append(b.letters, newLetter(msg, f.sender(), time.Now())), append(b.at, len(b.outcomes)-1)
			b.size += len(msg.Body)
		}
	}
	return b.send(ctx)
}

// maxOutcomes bounds what is reported at once, when most messages cannot be pushed.
const maxOutcomes = 1024

// A bulk is a PushAll to one peer.
type bulk struct {
	f        *Federation
	m        *member
	progress func(BulkProgress)
	result   *BulkResult

	outcomes []BulkOutcome // of the messages since the last report, in order; those with an Err cannot be sent
	letters  []*letter     // the others
	at       []int         // where their outcomes are
	size     int           // of their bodies
	broken   int           // messages in a row over which the peer broke
}

// send brings the letters to the peer and reports the outcomes. With an error, it reports those that there are.
func (b *bulk) send(ctx context.Context) error {
	var err error
	if len(b.letters) > 0 {
		var sent []BulkOutcome
		sent, err = b.deliver(ctx, b.letters)
		for i, o := range sent {
			b.outcomes[b.at[i]] = o
		}
		for _, i := range slices.Backward(b.at[len(sent):]) {
			b.outcomes = slices.Delete(b.outcomes, i, i+1)
		}
	}
	if len(b.outcomes) > 0 {
		b.result.add(b.outcomes)
		if b.progress != nil {
			b.progress(BulkProgress{Peer: b.m.Name, Outcomes: b.outcomes, Done: b.result.Done, Acked: b.result.Applied + b.result.Noops})
		}
	}
	b.outcomes, b.letters, b.at, b.size = nil, nil, nil, 0
	return err
}

func (r *BulkResult) add(outcomes []BulkOutcome) {
	for _, o := range outcomes {
		r.Done++
		switch {
		case o.Kind == quorum.Acked && o.Verdict == Noop:
			r.Noops++
		case o.Kind == quorum.Acked:
			r.Applied++
		case len(r.Failed) < maxFailed:
			r.Failed = append(r.Failed, o)
		}
	}
}

// deliver sends one batch, again where that can help, and in halves where the content is to blame. With an error
// come the outcomes of the messages before it.
func (b *bulk) deliver(ctx context.Context, batch []*letter) ([]BulkOutcome, error) {
	for attempt := 1; ; attempt++ {
		try, cancel := context.WithTimeout(ctx, 3*sendTimeout)
		a := b.f.carry(try, b.m.ID, batch, turn0, transport.Bulk)
		cancel()
		switch {
		case a.replies != nil:
			b.broken = 0
			outcomes := make([]BulkOutcome, len(batch))
			for i, r := range a.replies {
				outcomes[i] = BulkOutcome{Operation: batch[i].Operation, Kind: r.kind, Verdict: r.verdict, Ack: r.ack, Err: r.err}
			}
			return outcomes, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case a.content && len(batch) > 1:
			head, err := b.deliver(ctx, batch[:len(batch)/2])
			if err != nil {
				return head, err
			}
			tail, err := b.deliver(ctx, batch[len(batch)/2:])
			return append(head, tail...), err
		case a.content && (a.whole.final || attempt == bulkAttempts && b.broken < maxBroken):
			if !a.whole.final {
				b.broken++
			}
			return []BulkOutcome{{Operation: batch[0].Operation, Kind: a.whole.kind, Err: a.whole.err}}, nil
		case attempt == bulkAttempts:
			return nil, a.whole.err
		}
		if err := b.f.restBetween(ctx, a.after, attempt); err != nil {
			return nil, err
		}
	}
}

// maxBroken is over how many messages in a row a peer may break before it is given up.
const maxBroken = 2

// restBetween waits before the next attempt.
func (f *Federation) restBetween(ctx context.Context, least time.Duration, attempt int) error {
	t := time.NewTimer(least + jitter(f.delivery.backoff(attempt+1)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.ctx.Done():
		return closedError("bulk")
	}
}
