package sdk

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/outbox/bolt"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/transport"
)

// A road is a carrier whose peers behave as a test says. It stands for the network, not for the engine.
type road struct {
	mu      sync.Mutex
	answer  map[string]func(ctx context.Context, letters []*letter, t turn) answer // by peer; default: acks everything
	got     map[string][]string                                                    // operations that a peer took, in order
	calls   map[string][]int                                                       // sizes of its batches
	at      map[string][]time.Time
	gone    map[string]bool
	turns   turnstile
	latency time.Duration // on the way there
	width   int
	busy    map[string]int
	most    map[string]int
}

func newRoad() *road {
	return &road{
		answer: map[string]func(context.Context, []*letter, turn) answer{}, got: map[string][]string{}, calls: map[string][]int{},
		at: map[string][]time.Time{}, gone: map[string]bool{}, width: maxWidth, busy: map[string]int{}, most: map[string]int{},
	}
}

func (r *road) knows(peer string) (bool, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.gone[peer], r.width
}

func (r *road) set(peer string, f func(ctx context.Context, letters []*letter, t turn) answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer[peer] = f
}

func (r *road) carry(ctx context.Context, peer string, letters []*letter, t turn, _ transport.Lane) answer {
	r.mu.Lock()
	f := r.answer[peer]
	r.calls[peer] = append(r.calls[peer], len(letters))
	r.at[peer] = append(r.at[peer], time.Now())
	r.busy[peer]++
	r.most[peer] = max(r.most[peer], r.busy[peer])
	r.mu.Unlock()
	time.Sleep(r.latency)
	if err := r.turns.enter(ctx, peer, t); err != nil {
		r.mu.Lock()
		r.busy[peer]--
		r.mu.Unlock()
		return answer{whole: reply{kind: quorum.Refused, err: err}}
	}
	a := acks(peer, letters)
	if f != nil {
		a = f(ctx, letters, t)
	}
	if a.replies != nil {
		defer r.turns.leave(peer, t) // as a receiver does: a batch that failed as a whole was not its turn
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[peer]--
	for i, rep := range a.replies {
		if rep.kind == quorum.Acked {
			r.got[peer] = append(r.got[peer], letters[i].Operation)
		}
	}
	return a
}

func (r *road) taken(peer string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[peer])
}

func (r *road) times(peer string) []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at[peer])
}

func acks(peer string, letters []*letter) answer {
	a := answer{replies: make([]reply, len(letters))}
	for i := range letters {
		a.replies[i] = reply{kind: quorum.Acked, verdict: Applied, identity: quorum.Identity{TLS: peer}}
	}
	return a
}

func unreachable(context.Context, []*letter, turn) answer {
	return answer{whole: reply{kind: quorum.Unsent, err: errors.New("connection refused")}}
}

// after answers as f does, after a delay.
func after(d time.Duration, f func(context.Context, []*letter, turn) answer) func(context.Context, []*letter, turn) answer {
	return func(ctx context.Context, letters []*letter, t turn) answer {
		select {
		case <-time.After(d):
			return f(ctx, letters, t)
		case <-ctx.Done():
			return answer{whole: reply{kind: quorum.Unknown, err: ctx.Err()}}
		}
	}
}

func acking(peer string) func(context.Context, []*letter, turn) answer {
	return func(_ context.Context, letters []*letter, _ turn) answer { return acks(peer, letters) }
}

// A rig is an engine on a road.
type rig struct {
	*delivery
	road  *road
	store outbox.Store
	peers []peerRef

	mu     sync.Mutex
	events []Event
}

func newRig(t *testing.T, peers int, opts PushOptions, store outbox.Store) *rig {
	t.Helper()
	return newPatientRig(t, peers, opts, store, quorum.DefaultAckTimeout)
}

func newPatientRig(t *testing.T, peers int, opts PushOptions, store outbox.Store, patience time.Duration) *rig {
	t.Helper()
	r := &rig{road: newRoad(), store: store}
	if store == nil {
		r.store = outbox.NewMemory(outbox.Limits{})
	}
	for i := range peers {
		r.peers = append(r.peers, peerRef{name: fmt.Sprintf("peer-%d", i), id: fmt.Sprintf("p%d", i)})
	}
	r.delivery = newDelivery(r.store, r.road, opts, patience, "me", func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	})
	t.Cleanup(r.delivery.close)
	return r
}

func (r *rig) count(kind EventKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (r *rig) send(t *testing.T, op string, writes int) (*quorum.Result, error) {
	t.Helper()
	return r.sendBody(t, op, writes, "body of "+op)
}

func (r *rig) sendBody(t *testing.T, op string, writes int, body string) (*quorum.Result, error) {
	t.Helper()
	policy, err := quorum.Policy{Writes: writes}.Resolve(len(r.peers))
	if err != nil {
		t.Fatal(err)
	}
	local := func(context.Context, *letter) (*quorum.Ack, quorum.Identity, error) {
		return nil, quorum.Identity{TLS: "me"}, nil
	}
	l := newLetter(Message{Operation: op, Body: []byte(body), ContentType: "text/plain"}, "me", time.Now())
	return r.push(t.Context(), l, policy, r.peers, local)
}

func (r *rig) depth(t *testing.T, peer string) int {
	t.Helper()
	stats, err := r.store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stats {
		if s.Peer == peer {
			return s.Depth
		}
	}
	return 0
}

func notMet(t *testing.T, err error) *quorum.NotMetError {
	t.Helper()
	var e *quorum.NotMetError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a NotMetError", err)
	}
	return e
}

func numbered(n int) []string {
	ops := make([]string, n)
	for i := range ops {
		ops[i] = fmt.Sprintf("op-%03d", i)
	}
	return ops
}

func TestPushReturnsAtWAndStragglersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, PushOptions{}, nil)
		for i := range 4 {
			p := fmt.Sprintf("p%d", i)
			r.road.set(p, after(time.Duration(i+1)*100*time.Millisecond, acking(p)))
		}
		start := time.Now()
		result, err := r.send(t, "op", 3)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 200*time.Millisecond || result.Elapsed != took {
			t.Errorf("took %v, said %v, want the second fastest peer's 200ms", took, result.Elapsed)
		}
		if o := result.Outcomes; o[3].Kind != quorum.Unknown || o[4].Kind != quorum.Unknown || !o[1].Counted || !o[2].Counted {
			t.Errorf("outcomes %v", o)
		}
		if r.depth(t, "p3") != 1 {
			t.Error("the straggler's message is not in the outbox")
		}
		time.Sleep(time.Second)
		for i := range 4 {
			if p := fmt.Sprintf("p%d", i); r.depth(t, p) != 0 || len(r.road.taken(p)) != 1 {
				t.Errorf("%s: depth %d, took %v", p, r.depth(t, p), r.road.taken(p))
			}
		}
	})
}

func TestTheContextBoundsTheWaitAndNotTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, nil)
		r.road.set("p0", after(time.Second, acking("p0")))
		r.road.set("p1", after(time.Second, acking("p1")))
		policy, _ := quorum.Policy{Writes: 2}.Resolve(2)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		local := func(context.Context, *letter) (*quorum.Ack, quorum.Identity, error) {
			return nil, quorum.Identity{TLS: "me"}, nil
		}
		start := time.Now()
		_, err := r.push(ctx, newLetter(Message{Operation: "op", Body: []byte("x")}, "me", start), policy, r.peers, local)
		if e := notMet(t, err); e.Reason != quorum.Timeout || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		time.Sleep(2 * time.Second)
		if len(r.road.taken("p0")) != 1 || r.depth(t, "p0") != 0 {
			t.Error("the delivery ended with the context")
		}
	})
}

func TestTheAckTimeoutEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, nil)
		r.road.set("p0", after(time.Hour, acking("p0")))
		r.road.set("p1", after(time.Hour, acking("p1")))
		start := time.Now()
		_, err := r.send(t, "op", 2)
		if e := notMet(t, err); e.Reason != quorum.Timeout || e.Got != 1 || time.Since(start) != quorum.DefaultAckTimeout {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestARequestLastsAsLongAsItsPushWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPatientRig(t, 1, PushOptions{}, nil, time.Minute)
		r.road.set("p0", after(45*time.Second, acking("p0")))
		policy, err := quorum.Policy{Writes: 2, AckTimeout: time.Minute}.Resolve(1)
		if err != nil {
			t.Fatal(err)
		}
		local := func(context.Context, *letter) (*quorum.Ack, quorum.Identity, error) {
			return nil, quorum.Identity{TLS: "me"}, nil
		}
		result, err := r.push(t.Context(), newLetter(Message{Operation: "op", Body: []byte("x")}, "me", time.Now()), policy, r.peers, local)
		if err != nil || result.Elapsed != 45*time.Second {
			t.Errorf("got %v, %v", result, err)
		}
	})
}

func TestOneRetryInsideTheDeadlineWhereItCanHelp(t *testing.T) {
	for name, c := range map[string]struct {
		first   answer
		history bool // the peer failed before
		want    int
	}{
		"busy for a moment":      {answer{whole: reply{kind: quorum.Refused, err: errors.New("status 503")}}, false, 2},
		"connection refused":     {answer{whole: reply{kind: quorum.Unsent, err: errors.New("refused")}}, false, 2},
		"fate unknown":           {answer{whole: reply{kind: quorum.Unknown, err: errors.New("reset")}}, false, 2},
		"wants to be left alone": {answer{whole: reply{kind: quorum.Refused, err: errors.New("status 503")}, after: time.Minute}, false, 1},
		"refused for good":       {answer{whole: reply{kind: quorum.Refused, final: true, err: errors.New("status 400")}, content: true}, false, 1},
		"failed before":          {answer{whole: reply{kind: quorum.Unsent, err: errors.New("refused")}}, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, PushOptions{MaxBackoff: time.Hour}, nil)
				if c.history {
					r.courier(r.peers[0]).failures = 1
				}
				var mu sync.Mutex
				calls := 0
				r.road.set("p0", func(_ context.Context, letters []*letter, _ turn) answer {
					mu.Lock()
					defer mu.Unlock()
					if calls++; calls == 1 {
						return c.first
					}
					return acks("p0", letters)
				})
				result, err := r.send(t, "op", 2)
				if c.want == 2 {
					if err != nil || result.Outcomes[1].Attempts != 2 {
						t.Fatalf("got %+v, %v", result, err)
					}
					return
				}
				if e := notMet(t, err); e.Outcomes[1].Attempts != 1 {
					t.Errorf("%d attempts", e.Outcomes[1].Attempts)
				}
			})
		})
	}
}

// Also where it was a push that was told so, and not the replay of the outbox.
func TestAPeerIsLeftAloneAsLongAsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		asks := answer{whole: reply{kind: quorum.Refused, err: errors.New("status 429")}, after: 20 * time.Second}
		r.road.set("p0", func(context.Context, []*letter, turn) answer { return asks })
		_, err := r.send(t, "op", 2)
		notMet(t, err)
		time.Sleep(10 * time.Minute)
		at := r.road.times("p0")
		for i := 1; i < len(at); i++ {
			if pause := at[i].Sub(at[i-1]); pause < asks.after {
				t.Errorf("request %d came after %v", i, pause)
			}
		}
		if len(at) < 10 {
			t.Errorf("%d requests in ten minutes", len(at))
		}
		r.road.set("p0", acking("p0"))
		if _, err := r.send(t, "newer", 2); err != nil {
			t.Fatal("a new push does not wait:", err)
		}
		synctest.Wait()
		if got := r.depth(t, "p0"); got != 0 {
			t.Errorf("%d messages wait for a peer that takes them again", got)
		}
	})
}

func TestReplayKeepsOrderInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, nil)
		r.road.set("p1", unreachable)
		want := numbered(300)
		for _, op := range want {
			if _, err := r.send(t, op, 2); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) // the last attempts of the pushes themselves
		if r.depth(t, "p1") != 300 {
			t.Fatalf("depth %d", r.depth(t, "p1"))
		}
		r.road.set("p1", after(10*time.Millisecond, acking("p1")))
		time.Sleep(2 * defaultMaxBackoff)
		if got := r.road.taken("p1"); !slices.Equal(got, want) {
			t.Errorf("%d of %d arrived, in order: %v: %v", len(got), len(want), slices.IsSorted(got), got)
		}
		if r.depth(t, "p1") != 0 {
			t.Errorf("depth %d", r.depth(t, "p1"))
		}
		r.road.mu.Lock()
		defer r.road.mu.Unlock()
		if big := slices.Max(r.road.calls["p1"]); big != maxBatch {
			t.Errorf("the largest batch was %d", big)
		}
		if r.count(EventPeerDown) != 1 || r.count(EventRecovered) != 1 {
			t.Errorf("events %v", r.events)
		}
	})
}

func TestADeadPeerIsProbedByOneMessageEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{MaxBackoff: 10 * time.Second}, nil)
		r.road.set("p1", unreachable)
		for _, op := range numbered(50) {
			if _, err := r.send(t, op, 2); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // the pauses have grown to the maximum
		before := len(r.road.times("p1"))
		r.road.mu.Lock()
		r.road.most["p1"] = 0
		r.road.mu.Unlock()
		time.Sleep(10 * time.Minute)
		at := r.road.times("p1")[before:]
		// 600 s of pauses that are equally spread over 10 s: 120 on average.
		if len(at) < 80 || len(at) > 180 {
			t.Errorf("%d probes in ten minutes", len(at))
		}
		var short, long int
		for i := 1; i < len(at); i++ {
			if at[i].Sub(at[i-1]) < 3*time.Second {
				short++
			}
			if at[i].Sub(at[i-1]) > 7*time.Second {
				long++
			}
		}
		if short == 0 || long == 0 {
			t.Errorf("no jitter: %d short pauses and %d long ones", short, long)
		}
		r.road.mu.Lock()
		defer r.road.mu.Unlock()
		for _, n := range r.road.calls["p1"][before:] {
			if n != 1 {
				t.Errorf("a probe of %d messages", n)
			}
		}
		if r.road.most["p1"] != 1 {
			t.Errorf("%d requests at once to a dead peer", r.road.most["p1"])
		}
	})
}

func TestAPoisonousMessageHoldsUpNoOther(t *testing.T) {
	for name, poison := range map[string]func(letters []*letter) answer{
		"refused by itself": func(letters []*letter) answer {
			a := acks("p1", letters)
			for i, l := range letters {
				if l.Operation == "op-005" {
					a.replies[i] = reply{kind: quorum.Refused, err: errors.New("not taken for now")}
				}
			}
			return a
		},
		"spoils its batch": func(letters []*letter) answer {
			for _, l := range letters {
				if l.Operation == "op-005" {
					return answer{whole: reply{kind: quorum.Refused, err: errors.New("status 500")}, content: true}
				}
			}
			return acks("p1", letters)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 2, PushOptions{}, nil)
				r.road.set("p1", unreachable)
				all := numbered(200)
				for _, op := range all {
					if _, err := r.send(t, op, 2); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second) // the last attempts of the pushes themselves
				r.road.set("p1", func(_ context.Context, letters []*letter, _ turn) answer { return poison(letters) })
				time.Sleep(5 * time.Minute)
				want := slices.DeleteFunc(slices.Clone(all), func(op string) bool { return op == "op-005" })
				if got := r.road.taken("p1"); !slices.Equal(got, want) {
					t.Errorf("%d of %d others arrived, in order: %v", len(got), len(want), slices.IsSorted(got))
				}
				if r.depth(t, "p1") != 1 {
					t.Errorf("depth %d, want the poison alone", r.depth(t, "p1"))
				}
				if r.count(EventQuarantined) != 0 {
					t.Error("a temporary refusal was counted")
				}
				r.road.set("p1", acking("p1"))
				time.Sleep(2 * defaultMaxBackoff)
				if r.depth(t, "p1") != 0 {
					t.Error("the poison was not tried again")
				}
			})
		})
	}
}

func TestAHundredPermanentRefusalsQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{MaxBackoff: time.Second}, nil)
		refusals := 0
		var mu sync.Mutex
		r.road.set("p1", func(_ context.Context, letters []*letter, _ turn) answer {
			a := acks("p1", letters)
			for i, l := range letters {
				if l.Operation == "bad" {
					mu.Lock()
					refusals++
					mu.Unlock()
					a.replies[i] = reply{kind: quorum.Refused, final: true, err: errors.New("never")}
				}
			}
			return a
		})
		for _, op := range []string{"before", "bad", "behind"} {
			if _, err := r.send(t, op, 2); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if refusals != defaultQuarantineAfter || r.count(EventQuarantined) != 1 {
			t.Errorf("%d refusals, %d events", refusals, r.count(EventQuarantined))
		}
		held, err := r.store.Read(t.Context(), "p1", outbox.Query{Quarantined: true})
		if err != nil || len(held) != 1 || held[0].Operation != "bad" || held[0].Refusals != 100 || held[0].Reason != "never" {
			t.Fatalf("quarantine %+v, %v", held, err)
		}
		if got := r.road.taken("p1"); !slices.Contains(got, "before") || !slices.Contains(got, "behind") || slices.Contains(got, "bad") {
			t.Errorf("took %v", got)
		}
		// An operator retries it, and the peer has changed its mind.
		r.road.set("p1", acking("p1"))
		if err := r.store.Mark(t.Context(), "p1", outbox.Mark{Seq: held[0].Seq}); err != nil {
			t.Fatal(err)
		}
		r.courier(r.peers[1]).replaySoon()
		time.Sleep(time.Minute)
		if got := r.road.taken("p1"); !slices.Contains(got, "bad") {
			t.Errorf("took %v", got)
		}
	})
}

func TestAConflictIsSetAsideAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		r.road.set("p0", func(_ context.Context, letters []*letter, _ turn) answer {
			return answer{replies: []reply{{kind: quorum.Refused, final: true, conflict: true, err: errors.New("another digest")}}}
		})
		if e := notMet(t, func() error { _, err := r.send(t, "op", 2); return err }()); e.Reason != quorum.RefusedBy {
			t.Errorf("reason %v", e.Reason)
		}
		synctest.Wait()
		if held, _ := r.store.Read(t.Context(), "p0", outbox.Query{Quarantined: true}); len(held) != 1 {
			t.Errorf("quarantine %+v", held)
		}
	})
}

func TestAFullOutboxIsLoudOnceAndThePushSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, outbox.NewMemory(outbox.Limits{Bytes: 100}))
		r.road.set("p1", unreachable)
		for i := range 10 {
			result, err := r.sendBody(t, fmt.Sprint(i), 2, strings.Repeat("x", 30))
			if err != nil {
				t.Fatal(err)
			}
			if recorded := result.Outcomes[2].Recorded; recorded != (i < 3) {
				t.Errorf("message %d recorded: %v", i, recorded)
			}
			if !result.Outcomes[1].Recorded {
				t.Error("one peer's full queue keeps another's messages out")
			}
			synctest.Wait() // what was acked leaves the outbox after Push has returned
		}
		if r.count(EventOutboxFull) != 1 {
			t.Errorf("%d events", r.count(EventOutboxFull))
		}
	})
}

func TestWhatNeitherFitsNorMayOvertakeFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{Ordered: true}, outbox.NewMemory(outbox.Limits{Bytes: 100}))
		r.road.set("p0", unreachable)
		for i := range 3 {
			if _, err := r.sendBody(t, fmt.Sprint(i), 1, strings.Repeat("x", 30)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		start := time.Now()
		_, err := r.sendBody(t, "last", 2, strings.Repeat("x", 30))
		if e := notMet(t, err); !errors.Is(e.Outcomes[1].Err, errOutboxFull) || time.Since(start) != 0 {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestWhatWaitsTooLongIsDroppedLoudly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, outbox.NewMemory(outbox.Limits{Age: time.Hour}))
		r.road.set("p1", unreachable)
		if _, err := r.send(t, "old", 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		if _, err := r.send(t, "young", 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		entries, err := r.store.Read(t.Context(), "p1", outbox.Query{})
		if err != nil || len(entries) != 1 || entries[0].Operation != "young" {
			t.Errorf("outbox %+v, %v", entries, err)
		}
		if r.count(EventOutboxAged) != 1 {
			t.Errorf("%d events", r.count(EventOutboxAged))
		}
	})
}

func TestAFloodSharesRequestsAndSpillsIntoTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{InFlight: 2}, nil)
		r.road.set("p0", after(100*time.Millisecond, acking("p0")))
		const n = 3000
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if _, err := r.send(t, fmt.Sprint("op-", i), 1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		if got := r.road.taken("p0"); len(got) != n {
			t.Errorf("%d of %d arrived", len(got), n)
		}
		r.road.mu.Lock()
		defer r.road.mu.Unlock()
		if calls := len(r.road.calls["p0"]); calls > 2+n/maxBatch*2 {
			t.Errorf("%d requests for %d messages", calls, n)
		}
		if r.road.most["p0"] > 2+maxWidth {
			t.Errorf("%d requests at once", r.road.most["p0"])
		}
	})
}

func TestOrderedPushesStayBehindTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{Ordered: true}, nil)
		r.road.set("p1", unreachable)
		want := numbered(20)
		for _, op := range want[:10] {
			if _, err := r.send(t, op, 2); err != nil {
				t.Fatal(err)
			}
		}
		r.road.set("p1", after(50*time.Millisecond, acking("p1")))
		for _, op := range want[10:] {
			if _, err := r.send(t, op, 3); err != nil {
				// The first of them may still meet the pause after the failures.
				notMet(t, err)
			}
		}
		time.Sleep(2 * defaultMaxBackoff)
		if got := r.road.taken("p1"); !slices.Equal(got, want) {
			t.Errorf("took %v", got)
		}
	})
}

func TestANewPushOvertakesTheBacklogByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		m := outbox.Message{Operation: "old", Body: []byte("x"), Created: time.Now()}
		if _, err := r.store.Append(t.Context(), m, []string{"p0"}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.send(t, "new", 2); err != nil {
			t.Fatal(err)
		}
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := r.road.taken("p0"); !slices.Equal(got, []string{"new", "old"}) {
			t.Errorf("took %v", got)
		}
	})
}

func TestConcurrencyOfReplayGrowsWhileItHelpsAndHalvesWhenItDoesNot(t *testing.T) {
	p := pace{width: 1}
	for _, rate := range []float64{100, 200, 300, 400} {
		p.round(rate, p.width, false)
	}
	if p.width != 5 {
		t.Errorf("width %d after four rounds that helped", p.width)
	}
	p.round(405, p.width, false)
	if p.width != 5 {
		t.Errorf("width %d after a round that did not", p.width)
	}
	p.round(200, p.width, false)
	if p.width != 2 {
		t.Errorf("width %d after a slower round", p.width)
	}
	p.round(0, p.width, true)
	p.round(0, p.width, true)
	if p.width != 1 {
		t.Errorf("width %d after failures", p.width)
	}
	for i := range 40 {
		p.round(float64(1000*(i+1)), p.width, false)
	}
	if p.width != maxWidth {
		t.Errorf("width %d, want the maximum", p.width)
	}
}

func TestReplayOfALongBacklogUsesSeveralBatchesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		for _, op := range numbered(5000) {
			m := outbox.Message{Operation: op, Body: []byte("x"), Created: time.Now()}
			if _, err := r.store.Append(t.Context(), m, []string{"p0"}); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		var turns []turn
		r.road.set("p0", func(_ context.Context, letters []*letter, tn turn) answer {
			mu.Lock()
			defer mu.Unlock()
			turns = append(turns, tn)
			return acks("p0", letters)
		})
		r.road.latency = 40 * time.Millisecond
		start := time.Now()
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		for r.depth(t, "p0") > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if took, alone := time.Since(start), 5000/maxBatch*40*time.Millisecond; took > alone/3 {
			t.Errorf("took %v; one batch after another takes %v", took, alone)
		}
		if r.road.most["p0"] < 4 {
			t.Errorf("%d batches at once", r.road.most["p0"])
		}
		for _, tn := range turns {
			if tn != turn0 && (tn.base > tn.index || tn.index-tn.base >= maxWidth) {
				t.Errorf("turn %+v", tn)
			}
		}
	})
}

func TestQueuesOfPeersThatLeftAreKeptAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, nil)
		r.road.set("p1", unreachable)
		if _, err := r.send(t, "op", 2); err != nil {
			t.Fatal(err)
		}
		r.road.mu.Lock()
		r.road.gone["p1"] = true
		r.road.mu.Unlock()
		time.Sleep(time.Hour)
		if r.depth(t, "p1") != 1 {
			t.Fatal("the queue is gone with the peer")
		}
		calls := len(r.road.times("p1"))
		time.Sleep(time.Hour)
		if len(r.road.times("p1")) != calls {
			t.Error("a peer that left is still probed")
		}
		r.road.mu.Lock()
		r.road.gone["p1"] = false
		r.road.mu.Unlock()
		r.road.set("p1", acking("p1"))
		if err := r.resume(t.Context(), r.peers); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * defaultMaxBackoff)
		if r.depth(t, "p1") != 0 {
			t.Error("the queue did not resume")
		}
	})
}

// A brokenStore fails to record.
type brokenStore struct{ outbox.Store }

func (brokenStore) Append(context.Context, outbox.Message, []string) ([]uint64, error) {
	return nil, errors.New("disk full")
}

func TestSuccessIsNeverReportedWithoutARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, brokenStore{outbox.NewMemory(outbox.Limits{})})
		_, err := r.send(t, "op", 2)
		if err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("got %v", err)
		}
	})
}

// A slowStore records late.
type slowStore struct {
	outbox.Store
	delay time.Duration
}

func (s slowStore) Append(ctx context.Context, m outbox.Message, peers []string) ([]uint64, error) {
	time.Sleep(s.delay)
	return s.Store.Append(ctx, m, peers)
}

func TestRecordingAndSendingOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, PushOptions{}, slowStore{outbox.NewMemory(outbox.Limits{}), 80 * time.Millisecond})
		r.road.set("p0", after(100*time.Millisecond, acking("p0")))
		r.road.set("p1", after(20*time.Millisecond, acking("p1")))
		start := time.Now()
		if _, err := r.send(t, "both", 3); err != nil || time.Since(start) != 100*time.Millisecond {
			t.Errorf("took %v, %v; one after the other takes 180ms", time.Since(start), err)
		}
		start = time.Now()
		if _, err := r.send(t, "fast", 2); err != nil || time.Since(start) != 80*time.Millisecond {
			t.Errorf("took %v, %v; the record takes 80ms", time.Since(start), err)
		}
		time.Sleep(time.Second)
		if r.depth(t, "p0")+r.depth(t, "p1") != 0 {
			t.Error("what was acked before it was recorded stays in the outbox")
		}
	})
}

func TestAPushOfADurableOutboxIsDeliveredAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	store, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 1, PushOptions{}, store)
	r.road.set("p0", unreachable)
	for _, op := range numbered(5) {
		if _, err := r.send(t, op, 1); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	if store, err = bolt.Open(path, bolt.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	r = newRig(t, 1, PushOptions{}, store)
	changed := r.watch()
	if err := r.resume(t.Context(), r.peers); err != nil {
		t.Fatal(err)
	}
	for r.depth(t, "p0") > 0 {
		<-changed
		changed = r.watch()
	}
	if got := r.road.taken("p0"); !slices.Equal(got, numbered(5)) {
		t.Errorf("took %v", got)
	}
}

func TestCloseEndsAPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, PushOptions{}, nil)
		r.road.set("p0", after(time.Hour, acking("p0")))
		go func() {
			time.Sleep(100 * time.Millisecond)
			r.close()
		}()
		if _, err := r.send(t, "op", 2); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, err := r.send(t, "op-2", 2); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

// A deafStore answers nothing but the contexts that end.
type deafStore struct {
	outbox.Store
	op string
}

func (s deafStore) wait(ctx context.Context, op string) error {
	if op != s.op {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s deafStore) Append(ctx context.Context, m outbox.Message, peers []string) ([]uint64, error) {
	if err := s.wait(ctx, "append"); err != nil {
		return nil, err
	}
	return s.Store.Append(ctx, m, peers)
}

func (s deafStore) Delete(ctx context.Context, peer string, seqs ...uint64) error {
	if err := s.wait(ctx, "delete"); err != nil {
		return err
	}
	return s.Store.Delete(ctx, peer, seqs...)
}

func (s deafStore) Mark(ctx context.Context, peer string, marks ...outbox.Mark) error {
	if err := s.wait(ctx, "mark"); err != nil {
		return err
	}
	return s.Store.Mark(ctx, peer, marks...)
}

func TestCloseWaitsForAStoreThatDoesNotAnswerNoLongerThanItsGrace(t *testing.T) {
	for _, op := range []string{"append", "delete", "mark"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, PushOptions{}, deafStore{outbox.NewMemory(outbox.Limits{}), op})
				if op == "mark" {
					r.road.set("p0", func(context.Context, []*letter, turn) answer {
						return answer{whole: reply{kind: quorum.Refused, final: true, err: errors.New("status 400")}, content: true}
					})
				}
				_, _ = r.send(t, "op", 1)
				synctest.Wait()
				start := time.Now()
				r.delivery.close()
				if took := time.Since(start); took != storeGrace {
					t.Errorf("closed after %v, want %v", took, storeGrace)
				}
			})
		})
	}
}
