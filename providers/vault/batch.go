package vault

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A batcher sends the messages that wait for a signature: alone while few do, together once every request
// that may be under way is. Each of its goroutines ends when no message waits.
type batcher struct {
	key     *Key
	version int

	mu      sync.Mutex
	queue   []*pending
	workers int
}

type pending struct {
	ctx     context.Context
	message []byte
	done    chan outcome // capacity 1
}

func newBatcher(k *Key, v *version) *batcher { return &batcher{key: k, version: v.number} }

// maxBatchBytes keeps a request far below the 32 MiB that Vault accepts.
const maxBatchBytes = 4 << 20

func (b *batcher) sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &pending{ctx: ctx, message: message, done: make(chan outcome, 1)}
	b.mu.Lock()
	b.queue = append(b.queue, p)
	if b.workers < b.key.opts.Concurrent {
		b.workers++
		go b.work()
	}
	b.mu.Unlock()
	select {
	case o := <-p.done:
		return o.sig, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *batcher) work() {
	for {
		batch := b.next()
		if batch == nil {
			return
		}
		b.send(batch)
	}
}

// next takes what waits, leaving out those who gave up. nil ends the worker.
func (b *batcher) next() []*pending {
	b.mu.Lock()
	defer b.mu.Unlock()
	var batch []*pending
	size, taken := 0, 0
	for _, p := range b.queue {
		if len(batch) == b.key.opts.MaxBatch || len(batch) > 0 && size+len(p.message) > maxBatchBytes {
			break
		}
		taken++
		if p.ctx.Err() != nil {
			continue
		}
		size += len(p.message)
		batch = append(batch, p)
	}
	b.queue = b.queue[taken:]
	if len(b.queue) == 0 {
		b.queue = nil
	}
	if batch == nil {
		b.workers--
	}
	return batch
}

func (b *batcher) send(batch []*pending) {
	ctx, cancel := b.context(batch)
	defer cancel()
	messages := make([][]byte, len(batch))
	for i, p := range batch {
		messages[i] = p.message
	}
	results, err := b.patiently(ctx, messages)
	for i, p := range batch {
		if err != nil {
			p.done <- outcome{err: err}
		} else {
			p.done <- results[i]
		}
	}
}

// patiently repeats a request, with full jitter, while Vault is unavailable, while something in front of it answers what it
// would not, and while there is no such key or mount, which may be about to be restored, moved back or made anew. Signing
// changes nothing, so it may be repeated whatever became of the last attempt.
func (b *batcher) patiently(ctx context.Context, messages [][]byte) ([]outcome, error) {
	end := time.Now().Add(b.key.opts.Patience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		results, err := b.key.signAll(ctx, b.version, messages)
		ce, ok := errors.AsType[*callError](err)
		if !ok || !passing(ce) || ctx.Err() != nil {
			return results, err
		}
		wait := max(ce.retryAfter, rand.N(pause))
		if time.Now().Add(wait).After(end) {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

func passing(e *callError) bool {
	return e.kind == fault.ErrUnavailable || e.kind == fault.ErrMaterial || e.kind == fault.ErrNotFound || e.noMount()
}

// context ends when the client is closed, or when nobody waits for the batch any more.
func (b *batcher) context(batch []*pending) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(b.key.client.closing)
	var mu sync.Mutex
	left := len(batch)
	stops := make([]func() bool, 0, len(batch))
	for _, p := range batch {
		stops = append(stops, context.AfterFunc(p.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				cancel()
			}
		}))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
