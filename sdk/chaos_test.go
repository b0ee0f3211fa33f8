package sdk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// A laggard is a store that takes its time, before and after it does what it is asked, and fails at times.
type laggard struct {
	outbox.Store
	dice *dice
}

// A dice is a source of chance for many goroutines.
type dice struct {
	mu     sync.Mutex
	random *rand.Rand
	calm   bool
}

// lag is up to limit, and often nothing.
func (d *dice) lag(limit time.Duration) {
	d.mu.Lock()
	pause := time.Duration(max(0, d.random.Int64N(2*int64(limit))-int64(limit)))
	d.mu.Unlock()
	time.Sleep(pause)
}

func (d *dice) roll(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.calm {
		return n - 1
	}
	return d.random.IntN(n)
}

func (s laggard) Append(ctx context.Context, m outbox.Message, peers []string) ([]uint64, error) {
	s.dice.lag(100 * time.Millisecond)
	seqs, err := s.Store.Append(ctx, m, peers)
	s.dice.lag(100 * time.Millisecond)
	return seqs, err
}

func (s laggard) Read(ctx context.Context, peer string, q outbox.Query) ([]outbox.Entry, error) {
	s.dice.lag(50 * time.Millisecond)
	entries, err := s.Store.Read(ctx, peer, q)
	s.dice.lag(50 * time.Millisecond)
	return entries, err
}

func (s laggard) Delete(ctx context.Context, peer string, seqs ...uint64) error {
	s.dice.lag(50 * time.Millisecond)
	if s.dice.roll(10) == 0 {
		return errors.New("no space left")
	}
	err := s.Store.Delete(ctx, peer, seqs...)
	s.dice.lag(50 * time.Millisecond)
	return err
}

func (s laggard) Mark(ctx context.Context, peer string, marks ...outbox.Mark) error {
	s.dice.lag(50 * time.Millisecond)
	err := s.Store.Mark(ctx, peer, marks...)
	s.dice.lag(50 * time.Millisecond)
	return err
}

// moody takes some messages, and fails in every way that a peer can.
func (d *dice) moody(peer string) func(context.Context, []*letter, turn) answer {
	return func(ctx context.Context, letters []*letter, t turn) answer {
		d.lag(100 * time.Millisecond)
		switch d.roll(12) {
		case 0:
			return unreachable(ctx, letters, t)
		case 1:
			return answer{whole: reply{kind: quorum.Unknown, err: errors.New("reset")}}
		case 2:
			return answer{whole: reply{kind: quorum.Refused, err: errors.New("status 500")}, content: true}
		case 3:
			return answer{whole: reply{kind: quorum.Refused, err: errors.New("status 503")}, after: time.Second}
		}
		a := acks(peer, letters)
		for i := range a.replies {
			switch d.roll(12) {
			case 0:
				a.replies[i] = reply{kind: quorum.Refused, err: errors.New("not now")}
			case 1:
				a.replies[i] = reply{kind: quorum.Refused, final: true, err: errors.New("never")}
			}
		}
		return a
	}
}

// Whatever becomes of requests, of the store and of the list of peers, a message that a peer has acked is not sent
// to it again, and one that it has not acked is.
func TestEveryMessageIsAckedOnce(t *testing.T) {
	for seed := range uint64(10) {
		for _, instant := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d/%t", seed, instant), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { everyMessageOnce(t, seed, instant) })
			})
		}
	}
}

func everyMessageOnce(t *testing.T, seed uint64, instant bool) {
	d := &dice{random: rand.New(rand.NewPCG(seed, 1))}
	var store outbox.Store = outbox.NewMemory(outbox.Limits{})
	if !instant {
		store = laggard{store, d}
	}
	r := newRig(t, 2, PushOptions{InFlight: 1 + d.roll(4), Ordered: seed%4 == 3, MaxBackoff: time.Second}, store)
	for _, p := range r.peers {
		r.road.set(p.id, d.moody(p.id))
	}
	ops := numbered(300)
	var wg sync.WaitGroup
	for _, op := range ops {
		wg.Go(func() {
			d.lag(10 * time.Second)
			_, _ = r.send(t, op, 1+d.roll(3))
		})
	}
	for range 10 { // a peer leaves and returns
		d.lag(4 * time.Second)
		p := r.peers[d.roll(2)]
		r.road.mu.Lock()
		r.road.gone[p.id] = !r.road.gone[p.id]
		r.road.mu.Unlock()
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	d.mu.Lock()
	d.calm = true
	d.mu.Unlock()
	r.road.mu.Lock()
	clear(r.road.gone)
	r.road.mu.Unlock()
	if err := r.resume(t.Context(), r.peers); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Minute)
	for _, p := range r.peers {
		got := r.road.taken(p.id)
		slices.Sort(got)
		if !slices.Equal(got, ops) {
			t.Errorf("%s took %d messages, %d different ones; want each of %d once", p.id, len(got), len(slices.Compact(got)), len(ops))
		}
		if n := r.depth(t, p.id); n != 0 {
			t.Errorf("%s: %d wait", p.id, n)
		}
		c := r.courier(p)
		c.mu.Lock()
		if len(c.live)+len(c.acking)+len(c.stale)+len(c.acked)+len(c.pending)+c.busy != 0 || c.replaying || c.retrying {
			t.Errorf("%s: kept live %v, acking %v, stale %v, acked %v, pending %v; busy %d", p.id, c.live, c.acking, c.stale, c.acked, c.pending, c.busy)
		}
		c.mu.Unlock()
	}
}

// Pushes that follow one another arrive in that order, whichever requests fail as a whole.
func TestOrderedPushesArriveInOrder(t *testing.T) {
	for seed := range uint64(20) {
		for _, instant := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d/%t", seed, instant), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { everyMessageInOrder(t, seed, instant) })
			})
		}
	}
}

func everyMessageInOrder(t *testing.T, seed uint64, instant bool) {
	d := &dice{random: rand.New(rand.NewPCG(seed, 1))}
	var store outbox.Store = outbox.NewMemory(outbox.Limits{})
	if !instant {
		store = laggard{store, d}
	}
	r := newRig(t, 1, PushOptions{Ordered: true, MaxBackoff: time.Second}, store)
	r.road.set("p0", func(ctx context.Context, letters []*letter, t turn) answer {
		d.lag(50 * time.Millisecond)
		switch d.roll(10) {
		case 0:
			return unreachable(ctx, letters, t)
		case 1:
			return answer{whole: reply{kind: quorum.Unknown, err: errors.New("reset")}}
		case 2:
			return answer{whole: reply{kind: quorum.Refused, err: errors.New("status 500")}, content: len(letters) > 1}
		}
		return acks("p0", letters)
	})
	ops := numbered(300)
	for _, op := range ops {
		_, _ = r.send(t, op, 1)
	}
	d.mu.Lock()
	d.calm = true
	d.mu.Unlock()
	time.Sleep(10 * time.Minute)
	got := r.road.taken("p0")
	for i, op := range got {
		if i >= len(ops) || op != ops[i] {
			t.Fatalf("message %d is %s: …%v", i, op, got[max(0, i-3):min(len(got), i+3)])
		}
	}
	if len(got) != len(ops) {
		t.Errorf("took %d of %d", len(got), len(ops))
	}
}
