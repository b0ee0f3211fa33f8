package sdk

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/transport"
)

// PushOptions tune the delivery of pushes. The zero value is good.
type PushOptions struct {
	// InFlight bounds the requests with pushes that are on their way to one peer. Messages beyond it share
	// requests, and what is too much even so waits in the outbox. Default 64.
	InFlight int
	// Ordered keeps a new push behind the messages that wait in the outbox for a peer. Default: it may
	// overtake them, so that a backlog does not cost a quorum.
	Ordered bool
	// QuarantineAfter is how often a peer may refuse a message for good before it is set aside. Default 100.
	QuarantineAfter int
	// MaxBackoff bounds the pause between two attempts to reach a peer, or to give it a message that it does
	// not take. Default 30 s.
	MaxBackoff time.Duration
}

const (
	defaultInFlight        = 64
	defaultQuarantineAfter = 100
	defaultMaxBackoff      = 30 * time.Second

	minBackoff      = 100 * time.Millisecond
	sendTimeout     = 10 * time.Second // of one batch, unless pushes wait longer
	downAfter       = 3                // failures in a row
	maxPending      = 1024             // messages of one peer that wait for a request in memory
	maxPendingBytes = 8 << 20          // and their bytes
	maxLive         = 8192             // messages of one peer that a push watches
)

func (o PushOptions) withDefaults() PushOptions {
	if o.InFlight <= 0 {
		o.InFlight = defaultInFlight
	}
	if o.QuarantineAfter <= 0 {
		o.QuarantineAfter = defaultQuarantineAfter
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = defaultMaxBackoff
	}
	return o
}

// A reply is what became of one message at one peer.
type reply struct {
	kind     quorum.Kind
	verdict  quorum.Verdict
	ack      *quorum.Ack
	identity quorum.Identity
	final    bool // refused for good
	conflict bool // refused for good: the operation id is known with another digest
	err      error
}

// An answer is what became of a batch.
type answer struct {
	replies []reply       // one for each message; nil: all of them share whole
	whole   reply         //
	content bool          // the content may be to blame: a smaller batch would tell
	after   time.Duration // how long the peer wants to be left alone
}

// A carrier brings one batch to one peer and comes back with the answer. It is the only part of the engine
// that touches the network.
type carrier interface {
	carry(ctx context.Context, peerID string, letters []*letter, t turn, lane transport.Lane) answer
	// knows says whether the ID is that of a peer now, and how many batches may be on their way to it at
	// once without losing their order.
	knows(peerID string) (ok bool, width int)
}

// A delivery is the engine behind Push: one courier for each peer, which all share an outbox.
type delivery struct {
	store   outbox.Store
	instant bool // recording costs no time to speak of
	age     time.Duration
	carrier carrier
	opts    PushOptions
	emit    func(Event)
	sender  string
	timeout time.Duration // of one batch

	ctx    context.Context
	cancel context.CancelFunc
	late   context.Context // of what the store is told once ctx has ended; ends storeGrace later
	giveUp context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	couriers map[string]*courier
	closed   bool
	changed  chan struct{} // closed and replaced when an outbox may have become empty
}

// newDelivery starts nothing. patience is how long a push waits for its acks.
func newDelivery(store outbox.Store, c carrier, opts PushOptions, patience time.Duration, sender string, emit func(Event)) *delivery {
	d := &delivery{
		store: store, age: outbox.DefaultAge, carrier: c, opts: opts.withDefaults(), emit: emit, sender: sender,
		timeout:  max(sendTimeout, patience),
		couriers: make(map[string]*courier), changed: make(chan struct{}),
	}
	_, d.instant = store.(*outbox.Memory)
	if l, ok := store.(outbox.Limiter); ok {
		d.age = l.Limits().Age
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.late, d.giveUp = context.WithCancel(context.Background())
	return d
}

// courier returns the courier of a peer.
func (d *delivery) courier(ref peerRef) *courier {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.couriers[ref.id]
	if c == nil {
		c = &courier{d: d, id: ref.id, live: make(map[string][]*parcel), acking: make(map[uint64]bool), stale: make(map[uint64]bool), kick: make(chan struct{}, 1)}
		d.couriers[ref.id] = c
	}
	c.name.Store(&ref.name)
	return c
}

// start runs f on a goroutine that close waits for. It reports false when the engine is closed.
func (d *delivery) start(f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.wg.Go(f)
	return true
}

// resume begins to replay what the outbox holds for these peers.
func (d *delivery) resume(ctx context.Context, peers []peerRef) error {
	stats, err := d.store.Stats(ctx)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	waits := make(map[string]bool, len(stats))
	for _, s := range stats {
		waits[s.Peer] = s.Depth > 0
	}
	for _, ref := range peers {
		c := d.courier(ref)
		if waits[ref.id] {
			c.replaySoon()
		}
	}
	return nil
}

// drain waits within ctx until no request is on its way.
func (d *delivery) drain(ctx context.Context) error {
	for {
		changed := d.watch()
		busy := false
		for _, c := range d.all() {
			busy = busy || c.isBusy()
		}
		if !busy {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *delivery) all() []*courier {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*courier, 0, len(d.couriers))
	for _, c := range d.couriers {
		all = append(all, c)
	}
	return all
}

// status is the state of every courier, by peer ID.
func (d *delivery) status() map[string]OutboxStatus {
	out := make(map[string]OutboxStatus)
	for _, c := range d.all() {
		c.mu.Lock()
		o := OutboxStatus{Sending: c.busy, Replaying: c.replaying, Width: c.width, Failures: c.failures}
		if err := cmp.Or(c.lastErr, c.refusal); err != nil {
			o.LastError = err.Error()
		}
		c.mu.Unlock()
		out[c.id] = o
	}
	return out
}

// watch returns a channel that closes at the next change.
func (d *delivery) watch() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

func (d *delivery) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// storeGrace is how long a store has, after close, for what it is told last.
const storeGrace = 5 * time.Second

// outlive is ctx without its end, until close and storeGrace. The caller calls the function.
func (d *delivery) outlive(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(d.late, cancel)
	return ctx, func() { stop(); cancel() }
}

// close ends what is on its way and waits. What the outbox holds stays there.
func (d *delivery) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	t := time.AfterFunc(storeGrace, d.giveUp)
	d.wg.Wait()
	t.Stop()
	d.giveUp()
}

// jitter is a time up to limit, all of them equally likely: those who failed together do not return together.
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}

// backoff is the upper end of the pause after n failures in a row.
func (d *delivery) backoff(n int) time.Duration {
	return min(minBackoff<<min(max(n-1, 0), 16), d.opts.MaxBackoff)
}

// Flush waits within ctx until the peers have taken everything that the outbox holds for them. What is set
// aside, and what is kept for peers that left, is not waited for.
func (f *Federation) Flush(ctx context.Context) error {
	for {
		changed := f.delivery.watch()
		stats, err := f.delivery.store.Stats(ctx)
		if err != nil {
			return fmt.Errorf("sdk: flush: outbox: %w", err)
		}
		waits, state := 0, f.state.Load()
		for _, s := range stats {
			if state.byID[s.Peer] != nil {
				waits += s.Depth
			}
		}
		if waits == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("sdk: flush: %d messages wait for peers: %w", waits, ctx.Err())
		case <-f.ctx.Done():
			return closedError("flush")
		}
	}
}
