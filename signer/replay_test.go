package signer_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/signer"
)

func newCache(t testing.TB, c signer.ReplayCacheConfig) *signer.ReplayCache {
	t.Helper()
	r, err := signer.NewReplayCache(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func number(n uint64) (nonce signer.Nonce) {
	for i := range 8 {
		nonce[i] = byte(n >> (8 * i))
	}
	return nonce
}

func TestOfTenThousandConcurrentReplaysExactlyOnePasses(t *testing.T) {
	copies := 10_000
	if raceEnabled {
		copies = 2_000 // the race detector makes a signature check ten times as long
	}
	n := newNode(t)
	first := n.signed(t, "once")
	var passed, replayed atomic.Int64
	var wg sync.WaitGroup
	next := make(chan struct{}, copies)
	for range copies {
		next <- struct{}{}
	}
	close(next)
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for range next {
				_, err := n.verifier.Verify(again(t, first, "once"), signer.From{Peer: "a"})
				var r *signer.Refusal
				switch {
				case err == nil:
					passed.Add(1)
				case errors.As(err, &r) && r.Tag == signer.TagReplayed:
					replayed.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1 || replayed.Load() != int64(copies-1) {
		t.Errorf("%d passed and %d were refused as replays, want 1 and %d", passed.Load(), replayed.Load(), copies-1)
	}
	if got := n.verifier.Refusals()[signer.TagReplayed]; got != uint64(copies-1) {
		t.Errorf("counter says %d", got)
	}
}

func TestReplayCacheAgreesWithANaiveOne(t *testing.T) {
	now := start
	clock := func() time.Time { return now }
	cache := newCache(t, signer.ReplayCacheConfig{Capacity: 1 << 17, Quota: 1 << 17, Window: time.Minute, Clock: clock})
	type entry struct {
		key   string
		nonce signer.Nonce
	}
	spent := map[entry]time.Time{} // until when it must be remembered
	rng := rand.New(rand.NewPCG(1, 2))
	keys := []string{signer.Thumbprint(testPublic(t, testKey(t, 1))), signer.Thumbprint(testPublic(t, testKey(t, 2)))}
	for i := range 60_000 {
		if i%20 == 0 {
			now = now.Add(time.Duration(rng.IntN(500)) * time.Millisecond)
		}
		e := entry{keys[rng.IntN(2)], number(uint64(rng.IntN(5_000)))}
		expires := now.Add(time.Duration(rng.IntN(60)) * time.Second)
		err := cache.Spend(t.Context(), e.key, e.nonce, expires)
		until, known := spent[e]
		switch {
		case err == nil && known && until.After(now):
			t.Fatalf("step %d: a nonce that is valid for %v more was forgotten", i, until.Sub(now))
		case err == nil:
			spent[e] = expires
		case !errors.Is(err, signer.ErrReplayed):
			t.Fatal(err)
		case !known && expires.After(now):
			t.Fatalf("step %d: a nonce that was never spent is called a replay", i)
		}
	}
	if st := cache.Stats(); st.Replayed == 0 || st.Entries == 0 {
		t.Errorf("%+v", st)
	}
}

func TestReplayCacheForgetsWhatHasExpired(t *testing.T) {
	now := start
	cache := newCache(t, signer.ReplayCacheConfig{Capacity: 1000, Quota: 1000, Window: time.Minute, Clock: func() time.Time { return now }})
	for i := range uint64(10_000) {
		now = now.Add(time.Second) // 60 a window, 120 in two, of 1000
		if err := cache.Spend(t.Context(), "k", number(i), now.Add(time.Minute)); err != nil {
			t.Fatalf("nonce %d: %v; %+v", i, err, cache.Stats())
		}
	}
	if st := cache.Stats(); st.Entries > 200 || st.Bytes > 16<<10 {
		t.Errorf("%+v", st)
	}
}

func TestFullReplayCacheRefusesAndForgetsNothing(t *testing.T) {
	now := start
	cache := newCache(t, signer.ReplayCacheConfig{Capacity: 200, Quota: 200, Window: time.Minute, Clock: func() time.Time { return now }})
	expires := now.Add(time.Minute)
	var held []uint64
	for i := range uint64(1000) {
		switch err := cache.Spend(t.Context(), "k", number(i), expires); {
		case err == nil:
			held = append(held, i)
		case !errors.Is(err, signer.ErrReplayFull):
			t.Fatal(err)
		}
	}
	if len(held) != 100 {
		t.Errorf("%d nonces held, want half of Capacity", len(held))
	}
	for _, i := range held {
		if err := cache.Spend(t.Context(), "k", number(i), expires); !errors.Is(err, signer.ErrReplayed) {
			t.Errorf("nonce %d: got %v", i, err)
		}
	}
	if st := cache.Stats(); st.Full != 900 || st.Replayed != 100 || st.Entries != 100 {
		t.Errorf("%+v", st)
	}
}

func TestOneKeyCannotFillTheReplayCacheForAll(t *testing.T) {
	cache := newCache(t, signer.ReplayCacheConfig{Capacity: 400, Window: time.Minute})
	expires := time.Now().Add(time.Minute)
	var greedy int
	for i := range uint64(1000) {
		switch err := cache.Spend(t.Context(), "greedy", number(i), expires); {
		case err == nil:
			greedy++
		case !errors.Is(err, signer.ErrReplayQuota):
			t.Fatal(err)
		}
	}
	if greedy != 50 {
		t.Errorf("greedy key spent %d, want an eighth of Capacity in one window", greedy)
	}
	if err := cache.Spend(t.Context(), "modest", number(0), expires); err != nil {
		t.Errorf("another key: %v", err)
	}
	if st := cache.Stats(); st.Quota != 950 {
		t.Errorf("%+v", st)
	}
}

func TestReplayCacheHoldsWhenTheClockIsSetBack(t *testing.T) {
	now := start
	cache := newCache(t, signer.ReplayCacheConfig{Capacity: 1000, Window: time.Minute, Clock: func() time.Time { return now }})
	spend := func(i uint64, expires time.Time) error { return cache.Spend(t.Context(), "k", number(i), expires) }
	expires := now.Add(30 * time.Second)
	if err := spend(1, expires); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) { // two rotations: the nonce is gone
		now = now.Add(2 * time.Minute)
		if err := spend(100+i, now.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	now = start
	if err := spend(1, expires); !errors.Is(err, signer.ErrReplayed) {
		t.Errorf("got %v, want ErrReplayed", err)
	}
}

func TestReplayCacheStaysWithinItsBytes(t *testing.T) {
	entries := 1_000_000
	if raceEnabled {
		entries = 200_000
	}
	cache := newCache(t, signer.ReplayCacheConfig{Capacity: 2 * entries, Quota: 2 * entries})
	expires := time.Now().Add(time.Hour)
	for i := range uint64(entries) {
		if err := cache.Spend(t.Context(), "k", number(i), expires); err != nil {
			t.Fatal(err)
		}
		if i%50_000 == 25_000 {
			if st := cache.Stats(); float64(st.Bytes)/float64(st.Entries) > 32 {
				t.Errorf("%d entries: %.1f bytes each", st.Entries, float64(st.Bytes)/float64(st.Entries))
			}
		}
	}
	st := cache.Stats()
	if per := float64(st.Bytes) / float64(st.Entries); st.Entries != entries || per > 32 {
		t.Errorf("%d entries: %.1f bytes each, want at most 32", st.Entries, per)
	}
}

func TestForgedMessagesSpendNoNonce(t *testing.T) {
	n := newNode(t, func(_ *signer.Config, vc *signer.VerifierConfig) {
		vc.Replay = newCache(t, signer.ReplayCacheConfig{Capacity: 64, Quota: 64, Clock: vc.Clock})
	})
	good := n.signed(t, "real")
	for i := range 1000 {
		forged := again(t, good, "real")
		switch i % 3 {
		case 0: // the same nonce under a signature that does not hold
			forged.Header.Set(signer.HeaderOperation, "forged")
		case 1: // the right signature over another body
			forged = again(t, good, "fake")
		case 2:
			forged.Header.Set(signer.HeaderTo, "c.example")
		}
		if _, err := n.verifier.Verify(forged, signer.From{Peer: "a"}); err == nil {
			t.Fatal("a forgery passed")
		}
	}
	if _, err := n.verifier.Verify(good, signer.From{Peer: "a"}); err != nil {
		t.Errorf("the real message, after the forgeries: %v", err)
	}
}

func TestReplicasBehindOneAddressShareAStore(t *testing.T) {
	shared := lasting{newCache(t, signer.ReplayCacheConfig{})}
	var nodes [2]*node
	for i := range nodes {
		nodes[i] = newNode(t, func(_ *signer.Config, vc *signer.VerifierConfig) { vc.Replay = shared })
	}
	r := nodes[0].signed(t, "once")
	if _, err := nodes[0].verifier.Verify(r, signer.From{Peer: "a"}); err != nil {
		t.Fatal(err)
	}
	_, err := nodes[1].verifier.Verify(again(t, r, "once"), signer.From{Peer: "a"})
	if tag := tagOf(t, err); tag != signer.TagReplayed {
		t.Errorf("at the other replica: got %q", tag)
	}
}

func TestReplayCacheRefusesABadConfiguration(t *testing.T) {
	for _, c := range []signer.ReplayCacheConfig{{Capacity: -1}, {Quota: -1}, {Window: -1}} {
		if _, err := signer.NewReplayCache(c); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}
