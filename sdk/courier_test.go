package sdk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// A tardyStore has recorded before it says so.
type tardyStore struct {
	outbox.Store
	delay time.Duration
}

func (s tardyStore) Append(ctx context.Context, m outbox.Message, peers []string) ([]uint64, error) {
	seqs, err := s.Store.Append(ctx, m, peers)
	time.Sleep(s.delay)
	return seqs, err
}

func TestAnAckedMessageIsNotReplayedBeforeItsRecordIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, tardyStore{outbox.NewMemory(outbox.Limits{}), 200 * time.Millisecond})
		r.road.set("p0", after(50*time.Millisecond, acking("p0")))
		go func() {
			if _, err := r.send(t, "op", 2); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(100 * time.Millisecond) // acked, in the store, and not known to be
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := r.road.taken("p0"); !slices.Equal(got, []string{"op"}) || r.depth(t, "p0") != 0 {
			t.Errorf("took %v, %d wait", got, r.depth(t, "p0"))
		}
		c := r.courier(r.peers[0])
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.live)+len(c.acking)+len(c.stale) != 0 {
			t.Errorf("kept: live %v, acking %v, stale %v", c.live, c.acking, c.stale)
		}
	})
}

// A busyStore goes on recording when nobody waits for it any more.
type busyStore struct {
	outbox.Store
	delay time.Duration
}

func (s busyStore) Append(ctx context.Context, m outbox.Message, peers []string) ([]uint64, error) {
	type result struct {
		seqs []uint64
		err  error
	}
	done := make(chan result, 1)
	go func() {
		time.Sleep(s.delay)
		seqs, err := s.Store.Append(context.WithoutCancel(ctx), m, peers)
		done <- result{seqs, err}
	}()
	select {
	case r := <-done:
		return r.seqs, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestAnOrderedPushWhoseWaitEndsWhileItIsRecordedIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{Ordered: true}, busyStore{outbox.NewMemory(outbox.Limits{}), 10 * time.Second})
		policy, err := quorum.Policy{Writes: 2}.Resolve(1)
		if err != nil {
			t.Fatal(err)
		}
		local := func(context.Context, *letter) (*quorum.Ack, quorum.Identity, error) {
			return nil, quorum.Identity{TLS: "me"}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err = r.push(ctx, newLetter(Message{Operation: "op", Body: []byte("x")}, "me", start), policy, r.peers, local)
		if _ = notMet(t, err); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		time.Sleep(time.Minute)
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := r.road.taken("p0"); !slices.Equal(got, []string{"op"}) || r.depth(t, "p0") != 0 {
			t.Errorf("took %v, %d wait", got, r.depth(t, "p0"))
		}
	})
}

// watched is what pushes of a peer's courier still watch.
func (r *rig) watched(peer string) []string {
	c := r.courier(peerRef{name: peer, id: peer})
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.live))
}

// A countingStore says how often it was read, and ends a test that reads without end.
type countingStore struct {
	outbox.Store
	reads  atomic.Int64
	limit  int64
	delete func() error
}

func (s *countingStore) Read(ctx context.Context, peer string, q outbox.Query) ([]outbox.Entry, error) {
	if s.reads.Add(1) > s.limit {
		time.Sleep(time.Hour) // lets the test go on, and fail
	}
	return s.Store.Read(ctx, peer, q)
}

func (s *countingStore) Delete(ctx context.Context, peer string, seqs ...uint64) error {
	if s.delete != nil {
		if err := s.delete(); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, peer, seqs...)
}

func notNow(_ context.Context, letters []*letter, _ turn) answer {
	a := answer{replies: make([]reply, len(letters))}
	for i := range letters {
		a.replies[i] = reply{kind: quorum.Refused, err: errors.New("not now")}
	}
	return a
}

func TestReplayRestsWhenWhatItHoldsIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingStore{Store: outbox.NewMemory(outbox.Limits{}), limit: 1000}
		r := newRig(t, 1, PushOptions{}, store)
		r.road.set("p0", notNow)
		_, _ = r.send(t, "op", 1)
		time.Sleep(10 * time.Second)
		entries, err := store.Read(t.Context(), "p0", outbox.Query{})
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v, %v", entries, err)
		}
		if err := store.Delete(t.Context(), "p0", entries[0].Seq); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := store.reads.Load(); n > store.limit {
			t.Errorf("%d reads of an empty outbox", n)
		}
		if r.status()["p0"].Replaying {
			t.Error("replay goes on with nothing to replay")
		}
	})
}

func TestReplayRestsWhileWhatItHoldsIsPushedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingStore{Store: outbox.NewMemory(outbox.Limits{}), limit: 1000}
		r := newRig(t, 1, PushOptions{MaxBackoff: time.Second}, store)
		r.road.set("p0", notNow)
		_, _ = r.send(t, "op", 1)
		time.Sleep(100 * time.Millisecond)
		r.road.set("p0", after(9*time.Second, acking("p0")))
		_, _ = r.send(t, "op", 1)
		time.Sleep(time.Minute)
		if n := store.reads.Load(); n > store.limit {
			t.Errorf("%d reads while a push was on its way", n)
		}
		if n := r.depth(t, "p0"); n != 0 {
			t.Errorf("%d wait for a peer that takes everything", n)
		}
	})
}

func TestAnEarlierPushOfTheSameOperationIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		m := outbox.Message{Operation: "op", Digest: quorum.DigestOf([]byte("body of op")), Body: []byte("body of op"), Created: time.Now()}
		if _, err := r.store.Append(t.Context(), m, []string{"p0"}); err != nil { // by an earlier process
			t.Fatal(err)
		}
		r.road.set("p0", after(time.Second, acking("p0")))
		go func() { _, _ = r.send(t, "op", 1) }()
		synctest.Wait()
		if err := r.resume(t.Context(), r.peers); err != nil { // finds the operation on its way
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := r.depth(t, "p0"); n != 0 {
			t.Errorf("%d wait for a peer that takes everything", n)
		}
	})
}

// A hookedRoad calls a function when a peer turns out to be gone.
type hookedRoad struct {
	*road
	mu   sync.Mutex
	hook func()
}

func (h *hookedRoad) knows(peer string) (bool, int) {
	ok, width := h.road.knows(peer)
	h.mu.Lock()
	hook := h.hook
	if !ok {
		h.hook = nil
	}
	h.mu.Unlock()
	if !ok && hook != nil {
		hook()
	}
	return ok, width
}

func TestAPeerThatReturnsWhileReplayStopsIsReplayedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		road := &hookedRoad{road: r.road}
		r.carrier = road
		r.road.set("p0", notNow)
		_, _ = r.send(t, "op", 1)
		synctest.Wait()
		gone := func(is bool) {
			r.road.mu.Lock()
			defer r.road.mu.Unlock()
			r.road.gone["p0"] = is
		}
		road.hook = func() { // replay has seen that the peer left, and has not stopped yet
			gone(false)
			r.road.set("p0", acking("p0"))
			if err := r.resume(t.Context(), r.peers); err != nil {
				t.Error(err)
			}
		}
		gone(true)
		time.Sleep(time.Minute)
		if n := r.depth(t, "p0"); n != 0 {
			t.Errorf("%d wait for a peer that is back", n)
		}
	})
}

func TestAPushThatWaitsForAPeerThatLeavesFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{Ordered: true}, nil)
		m := outbox.Message{Operation: "first", Body: []byte("x"), Created: time.Now()}
		if _, err := r.store.Append(t.Context(), m, []string{"p0"}); err != nil {
			t.Fatal(err)
		}
		r.road.set("p0", after(time.Second, notNow))
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		go func() {
			time.Sleep(500 * time.Millisecond)
			r.road.mu.Lock()
			defer r.road.mu.Unlock()
			r.road.gone["p0"] = true
		}()
		start := time.Now()
		_, err := r.send(t, "second", 2)
		if e := notMet(t, err); e.Reason != quorum.Unreachable || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if ops := r.watched("p0"); len(ops) != 0 {
			t.Errorf("kept: %v", ops)
		}
		if n := r.depth(t, "p0"); n != 2 {
			t.Errorf("%d are kept for the peer, want both", n)
		}
	})
}

func TestAnOrderedPushToADeadPeerFailsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{Ordered: true, MaxBackoff: 200 * time.Millisecond}, nil)
		r.road.set("p0", unreachable)
		for _, op := range numbered(3) {
			_, _ = r.send(t, op, 1)
		}
		time.Sleep(time.Minute)
		start := time.Now()
		_, err := r.send(t, "op", 2)
		if e := notMet(t, err); e.Reason != quorum.Unreachable || time.Since(start) > 500*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestAMessageThatTheOutboxCannotDeleteIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		store := &countingStore{Store: outbox.NewMemory(outbox.Limits{}), limit: 1000}
		store.delete = func() error {
			if broken.Load() {
				return errors.New("no space left")
			}
			return nil
		}
		r := newRig(t, 1, PushOptions{}, store)
		for _, op := range numbered(3) {
			if _, err := r.send(t, op, 2); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if got := r.road.taken("p0"); !slices.Equal(got, numbered(3)) {
			t.Errorf("took %v", got)
		}
		if n := r.count(EventOutboxError); n < 1 || n > 3 {
			t.Errorf("%d events", n)
		}
		broken.Store(false)
		time.Sleep(10 * time.Minute)
		if n := r.depth(t, "p0"); n != 0 {
			t.Errorf("%d stay in an outbox that works again", n)
		}
		if n := store.reads.Load(); n > store.limit {
			t.Errorf("%d reads", n)
		}
	})
}

func TestWhatIsTooOldToReplayIsWaitedForByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPatientRig(t, 1, PushOptions{Ordered: true}, outbox.NewMemory(outbox.Limits{Age: time.Second}), time.Minute)
		r.road.set("p0", after(5*time.Second, acking("p0")))
		m := outbox.Message{Operation: "first", Body: []byte("x"), Created: time.Now()}
		if _, err := r.store.Append(t.Context(), m, []string{"p0"}); err != nil {
			t.Fatal(err)
		}
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, err := r.send(t, "second", 2) // behind the first, which takes 5 s
		_ = notMet(t, err)
		time.Sleep(time.Minute)
		if ops := r.watched("p0"); len(ops) != 0 {
			t.Errorf("kept: %v", ops)
		}
	})
}

func TestStatusSaysWhyAPeerTakesNothingForNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		r.road.set("p0", notNow)
		_, _ = r.send(t, "op", 1)
		for range 5 {
			time.Sleep(20 * time.Second)
			if s := r.status()["p0"]; !strings.Contains(s.LastError, "not now") || s.Failures != 0 {
				t.Errorf("status %+v", s)
			}
		}
		// Others that the peer takes do not hide it.
		r.road.set("p0", func(ctx context.Context, letters []*letter, tn turn) answer {
			if letters[0].Operation == "op" {
				return notNow(ctx, letters, tn)
			}
			return acks("p0", letters)
		})
		if _, err := r.send(t, "good", 2); err != nil {
			t.Fatal(err)
		}
		if s := r.status()["p0"]; !strings.Contains(s.LastError, "not now") {
			t.Errorf("status %+v", s)
		}
		r.road.set("p0", acking("p0"))
		time.Sleep(2 * defaultMaxBackoff)
		if s := r.status()["p0"]; s.LastError != "" || s.Replaying {
			t.Errorf("status %+v", s)
		}
		if got := fmt.Sprint(r.road.taken("p0")); got != "[good op]" {
			t.Errorf("took %v", got)
		}
	})
}

func TestAPeerThatLeftIsNotCalledDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		r.road.set("p0", func(context.Context, []*letter, turn) answer {
			return answer{whole: reply{kind: quorum.Unsent, err: errLeft}}
		})
		r.road.gone["p0"] = true
		for _, op := range numbered(5) { // by pushes that had begun before
			_, _ = r.send(t, op, 1)
			time.Sleep(time.Second)
		}
		if s := r.status()["p0"]; r.count(EventPeerDown) != 0 || s.Failures != 0 {
			t.Errorf("%d events, status %+v", r.count(EventPeerDown), s)
		}
		if n := r.depth(t, "p0"); n != 5 {
			t.Errorf("%d are kept for the peer, want 5", n)
		}
	})
}
