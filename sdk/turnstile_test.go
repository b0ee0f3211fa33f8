package sdk

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
)

func TestTurnstileKeepsTheOrderOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s turnstile
		var mu sync.Mutex
		var order []uint32
		for i := range uint32(8) {
			go func() {
				time.Sleep(time.Duration(8-i) * time.Millisecond) // the last arrives first
				tn := turn{stream: 1, base: 0, index: i}
				if err := s.enter(t.Context(), "p", tn); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				s.leave("p", tn)
			}()
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if !slices.IsSorted(order) || len(order) != 8 {
			t.Errorf("order %v", order)
		}
	})
}

func TestTurnstileDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s turnstile
		start := time.Now()
		if err := s.enter(t.Context(), "p", turn{stream: 1, base: 0, index: 1}); !errors.Is(err, errOutOfTurn) || time.Since(start) != turnWait {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.enter(ctx, "p", turn{stream: 1, base: 0, index: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if err := s.enter(t.Context(), "p", turn{stream: 1, base: 0, index: 1000}); !errors.Is(err, errOutOfTurn) {
			t.Errorf("too far ahead: %v", err)
		}
		if err := s.enter(t.Context(), "p", turn{stream: 1, base: 9, index: 9}); err != nil {
			t.Errorf("after a restart of the receiver: %v", err)
		}
		for i := range uint64(100) {
			s.leave("p", turn{stream: i + 2, index: 1})
		}
		if n := len(s.peers["p"]); n != maxStreams {
			t.Errorf("%d streams are remembered", n)
		}
	})
}

func TestTurnstileIsBounded(t *testing.T) {
	for name, index := range map[string]func(uint32) uint32{
		"upwards":   func(i uint32) uint32 { return i },
		"downwards": func(i uint32) uint32 { return 1<<32 - 1 - i },
		"anyhow":    func(i uint32) uint32 { return i * 2654435761 },
	} {
		var s turnstile
		for i := range uint32(10_000) {
			tn := turn{stream: 1, base: index(i), index: index(i)}
			if err := s.enter(t.Context(), "peer", tn); err != nil {
				t.Fatal(err)
			}
			s.leave("peer", tn)
		}
		if n := len(s.stream("peer", 1).done); n > 2*maxAhead {
			t.Errorf("%s: %d turns are kept", name, n)
		}
	}
}

func TestAckMemoryIsBoundedForEachPeer(t *testing.T) {
	m := newAckMemory(10)
	add := func(peer, key string) bool {
		r, first := m.begin(peer, key)
		if first {
			m.end(peer, key, r, &quorum.Ack{Operation: key})
		}
		return first
	}
	add("a", "kept")
	for _, op := range numbered(1000) {
		add("b", op)
	}
	if n := len(m.peers["b"].known); n != 10 {
		t.Errorf("%d acks are remembered", n)
	}
	if add("a", "kept") {
		t.Error("one peer's messages pushed another's out")
	}
	if add("b", "op-999") || !add("b", "op-000") {
		t.Error("it is not the oldest that goes")
	}
	r, _ := m.begin("a", "failed")
	m.end("a", "failed", r, nil)
	if _, first := m.begin("a", "failed"); !first {
		t.Error("a message that was not applied is remembered")
	}
}

func TestAcksAreSignedTogetherUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // they come at once, however slow the machine is
		key := &slowKey{Key: testSigningKey(t, 1)}
		ring := &keyring{active: key, public: publicOf(key)}
		var s ackSigner
		var wg sync.WaitGroup
		all := make([]*quorum.Ack, 200)
		for i := range all {
			all[i] = &quorum.Ack{Operation: numbered(200)[i], Sender: "a", Recipient: "b", Verdict: Applied, Time: time.Now()}
			wg.Go(func() {
				if err := s.sign(t.Context(), ring, all[i:i+1]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, a := range all {
			if err := a.Verify(ring.public); err != nil {
				t.Error(err)
			}
		}
		if n := key.calls.Load(); n > 100 {
			t.Errorf("%d signatures for %d acks that came at once", n, len(all))
		}
		if s.signing || s.next != nil {
			t.Error("the turn was not passed back")
		}
	})
}

// Whoever shares a signature with others waits for it as long as its own context lets it, and no member that gives
// up costs another its ack.
func TestAnAckThatIsSignedWithOthersKeepsToItsOwnContext(t *testing.T) {
	for name, last := range map[string]time.Duration{"the key comes back": 20 * time.Second, "it does not": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key := &silentKey{Key: testSigningKey(t, 1), speak: make(chan struct{})}
				ring := &keyring{active: key, public: publicOf(key)}
				var s ackSigner
				var wg sync.WaitGroup
				ack := func() *quorum.Ack {
					return &quorum.Ack{Operation: "op", Sender: "a", Recipient: "b", Verdict: Applied, Time: time.Now()}
				}
				start := time.Now()
				for _, patience := range []time.Duration{time.Second, 2 * time.Second, 2 * time.Second, 3 * time.Second, last, last} {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						defer cancel()
						a := ack()
						err := s.sign(ctx, ring, []*quorum.Ack{a})
						took := time.Since(start)
						switch {
						case patience < 10*time.Second:
							if !errors.Is(err, context.DeadlineExceeded) || took != patience || a.Proof != nil {
								t.Errorf("after %v, of %v: %v", took, patience, err)
							}
						case err != nil || took != 10*time.Second || a.Verify(ring.public) != nil:
							t.Errorf("after %v, want 10 s and an ack: %v", took, err)
						}
					})
				}
				time.Sleep(10 * time.Second)
				close(key.speak)
				wg.Wait()
				if s.signing || s.next != nil {
					t.Error("the turn was not passed back")
				}
				if err := s.sign(t.Context(), ring, []*quorum.Ack{ack()}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

type panickingKey struct{ signer.Key }

func (panickingKey) Sign(context.Context, []byte) ([]byte, error) {
	panic("the driver of the HSM is broken")
}

func TestAKeyThatPanicsKeepsNobodyWaiting(t *testing.T) {
	good := testSigningKey(t, 1)
	ring := &keyring{active: panickingKey{good}, public: publicOf(good)}
	var s ackSigner
	for range 2 {
		ack := &quorum.Ack{Operation: "op", Sender: "a", Recipient: "b", Verdict: Applied, Time: time.Now()}
		if err := s.sign(t.Context(), ring, []*quorum.Ack{ack}); !errors.Is(err, ErrMaterial) {
			t.Errorf("got %v, want ErrMaterial", err)
		}
	}
	if s.signing {
		t.Error("the turn was not passed back")
	}
}
