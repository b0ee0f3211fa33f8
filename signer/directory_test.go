package signer_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// world is what peers publish in a test, and what a directory made of it.
type world struct {
	t         testing.TB
	mu        sync.Mutex
	published map[string]signer.KeySetView
	failure   error
	delay     time.Duration
	fetches   map[string]int
	events    []signer.DirectoryEvent
	*signer.KeyDirectory
}

func newWorld(t testing.TB, c signer.DirectoryConfig) *world {
	t.Helper()
	w := &world{t: t, published: map[string]signer.KeySetView{}, fetches: map[string]int{}}
	if c.Peers == nil {
		c.Peers = []signer.DirectoryPeer{{Name: "a"}, {Name: "c"}}
	}
	c.Fetch = w.fetch
	c.OnEvent = func(e signer.DirectoryEvent) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}
	var err error
	if w.KeyDirectory, err = signer.NewKeyDirectory(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func (w *world) fetch(ctx context.Context, peer string) ([]byte, error) {
	w.mu.Lock()
	w.fetches[peer]++
	delay, failure, view := w.delay, w.failure, w.published[peer]
	w.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if failure != nil {
		return nil, failure
	}
	return signer.EncodeJWKS(view)
}

func (w *world) publish(peer string, seeds ...byte) {
	var v signer.KeySetView
	for _, s := range seeds {
		v.Keys = append(v.Keys, signer.PublishedKey{Key: testPublic(w.t, testKey(w.t, s))})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published[peer] = v
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) count(peer string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fetches[peer]
}

func (w *world) kinds() (kinds []signer.DirectoryEventKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// has reports whether the directory finds a key; anything but "no such key" fails the test.
func (w *world) has(peer string, seed byte) bool {
	w.t.Helper()
	pub := testPublic(w.t, testKey(w.t, seed))
	k, err := w.Key(w.t.Context(), peer, signer.Thumbprint(pub))
	if err == nil && !pub.Equal(k) {
		w.t.Fatal("another key")
	}
	if err != nil && !errors.Is(err, signer.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

func TestDirectoryFindsAPeersOwnKeysOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		w.publish("c", 3)
		if !w.has("a", 1) || !w.has("c", 3) {
			t.Error("a published key is not found")
		}
		if w.has("a", 3) || w.has("c", 1) || w.has("nobody", 1) {
			t.Error("a key is found under another peer")
		}
		if w.count("nobody") != 0 {
			t.Error("somebody was asked who is no peer")
		}
	})
}

func TestDirectoryAsksOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		w.change(func() { w.delay = time.Second })
		id := signer.Thumbprint(testPublic(t, testKey(t, 1)))
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := w.Key(t.Context(), "a", id); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.count("a"); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestWaiterLeavesWhenItsContextEndsAndTheFetchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		w.change(func() { w.delay = time.Second })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := w.Key(ctx, "a", signer.Thumbprint(testPublic(t, testKey(t, 1))))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) || time.Since(began) > 200*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		time.Sleep(time.Second)
		if !w.has("a", 1) || w.count("a") != 1 {
			t.Errorf("the fetch did not serve later callers; %d fetches", w.count("a"))
		}
	})
}

func TestMessagesWithUnknownKeysCauseFewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		began := time.Now()
		for i := range 2_000 {
			id := signer.Thumbprint(testPublic(t, testKey(t, 1)))[:39] + fmt.Sprintf("%04d", i)
			if _, err := w.Key(t.Context(), "a", id); err == nil {
				t.Fatal("found")
			}
			time.Sleep(25 * time.Millisecond)
		}
		if n, limit := w.count("a"), int(time.Since(began)/(5*time.Second))+5; n > limit {
			t.Errorf("%d fetches in %v, want at most %d", n, time.Since(began), limit)
		}
		if !w.has("a", 1) {
			t.Error("the good key is lost")
		}
	})
}

func TestOneUnknownKeyIsNotAskedForAgainForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		for range 29 {
			if w.has("a", 9) {
				t.Fatal("found")
			}
			time.Sleep(time.Second)
		}
		if n := w.count("a"); n != 1 {
			t.Errorf("%d fetches within NegativeTTL, want 1", n)
		}
		w.publish("a", 1, 9)
		time.Sleep(2 * time.Second)
		if !w.has("a", 9) {
			t.Error("not found after NegativeTTL")
		}
	})
}

func TestRotationPublishesOldAndNewTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		if !w.has("a", 1) {
			t.Fatal("the first key is not found")
		}
		w.publish("a", 1, 2)
		if !w.has("a", 2) || !w.has("a", 1) {
			t.Error("old and new do not hold together")
		}
		w.publish("a", 2)
		if !w.has("a", 1) {
			t.Error("the old key went before its set was due")
		}
		time.Sleep(6 * time.Minute)
		if w.has("a", 1) || !w.has("a", 2) {
			t.Error("the old key is still there when its set is due")
		}
	})
}

func TestSetIsRenewedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		w.has("a", 1)
		w.change(func() { w.delay = time.Second })
		time.Sleep(4 * time.Minute) // over two thirds of 5 min
		began := time.Now()
		if !w.has("a", 1) || time.Since(began) > 0 {
			t.Error("the caller waited for a renewal")
		}
		time.Sleep(2 * time.Second)
		if n := w.count("a"); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

func TestValidityIsClamped(t *testing.T) {
	for name, c := range map[string]struct {
		says  time.Duration
		holds time.Duration // fresh that long: one fetch
		gone  time.Duration // not any more
	}{
		"nothing":  {0, 4 * time.Minute, 6 * time.Minute},
		"a second": {time.Second, 50 * time.Second, 70 * time.Second},
		"a year":   {364 * 24 * time.Hour, 50 * time.Minute, 70 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, signer.DirectoryConfig{MaxStale: time.Nanosecond})
				w.publish("a", 1)
				w.change(func() { v := w.published["a"]; v.Validity = c.says; w.published["a"] = v })
				w.has("a", 1)
				w.change(func() { w.failure = errors.New("down") })
				time.Sleep(c.holds)
				if !w.has("a", 1) {
					t.Errorf("gone after %v", c.holds)
				}
				time.Sleep(c.gone - c.holds)
				if _, err := w.Key(t.Context(), "a", signer.Thumbprint(testPublic(t, testKey(t, 1)))); err == nil {
					t.Errorf("still there after %v", c.gone)
				}
			})
		})
	}
}

func TestLastGoodSetServesWhileThePeerIsDownUpToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		w.has("a", 1)
		w.change(func() { w.failure = errors.New("down") })
		for range 64 {
			time.Sleep(time.Minute)
			if !w.has("a", 1) {
				t.Fatal("lost while the peer is down")
			}
		}
		time.Sleep(2 * time.Minute) // 5 min and an hour are over
		_, err := w.Key(t.Context(), "a", signer.Thumbprint(testPublic(t, testKey(t, 1))))
		if err == nil || errors.Is(err, signer.ErrNotFound) {
			t.Errorf("got %v, want that it cannot be had", err)
		}
		w.change(func() { w.failure = nil })
		time.Sleep(time.Minute)
		if !w.has("a", 1) {
			t.Error("not found when the peer is back")
		}
		if !slices.Contains(w.kinds(), signer.DirectoryFailed) {
			t.Error("no event for the failures")
		}
	})
}

func TestKeyThatTwoPeersClaimIsRefusedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		w.publish("c", 1, 3)
		if !w.has("a", 1) {
			t.Fatal("not found while nobody else claims it")
		}
		if !w.has("c", 3) {
			t.Fatal("the other key of c")
		}
		if w.has("a", 1) || w.has("c", 1) {
			t.Error("a key of two peers is accepted")
		}
		var conflict *signer.DirectoryEvent
		w.change(func() {
			for i := range w.events {
				if w.events[i].Kind == signer.DirectoryConflict {
					conflict = &w.events[i]
				}
			}
		})
		if conflict == nil || conflict.Peer != "a" || !slices.Equal(conflict.Others, []string{"c"}) ||
			!slices.Equal(conflict.KeyIDs, []string{signer.Thumbprint(testPublic(t, testKey(t, 1)))}) {
			t.Errorf("event: %+v", conflict)
		}
		w.publish("c", 3)
		if err := w.Refresh(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		if !w.has("a", 1) {
			t.Error("not found after the other peer withdrew its claim")
		}
	})
}

func TestConfiguredKeyStandsAgainstAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{Peers: []signer.DirectoryPeer{
			{Name: "a", Keys: []crypto.PublicKey{testKey(t, 1).Public()}}, {Name: "c"},
		}})
		w.publish("c", 1)
		if w.has("c", 1) {
			t.Error("the claim is believed")
		}
		if !w.has("a", 1) {
			t.Error("the configured key is lost")
		}
		if w.count("a") != 0 {
			t.Error("a configured key was asked for")
		}
	})
}

func TestKeyOutsideItsTimesIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		now := time.Now()
		w.change(func() {
			w.published["a"] = signer.KeySetView{Keys: []signer.PublishedKey{
				{Key: testPublic(t, testKey(t, 1)), NotAfter: now.Add(time.Minute)},
				{Key: testPublic(t, testKey(t, 2)), NotBefore: now.Add(time.Minute)},
			}}
		})
		if !w.has("a", 1) || w.has("a", 2) {
			t.Error("before the switch")
		}
		time.Sleep(30 * time.Second) // clocks may differ by so much
		if !w.has("a", 1) || !w.has("a", 2) {
			t.Error("the other clock may be ahead")
		}
		time.Sleep(59 * time.Second)
		if !w.has("a", 1) || !w.has("a", 2) {
			t.Error("the other clock may be behind")
		}
		time.Sleep(time.Second)
		if w.has("a", 1) || !w.has("a", 2) {
			t.Error("after the switch")
		}
	})
}

func TestChainsAreJudgedByTheHook(t *testing.T) {
	ca := sdktest.NewCA(t)
	good := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Key: sdktest.Ed25519Key})
	bad := ca.Issue(t, sdktest.Leaf{DNS: []string{"c.example"}, Key: sdktest.Ed25519Key})
	w := newWorld(t, signer.DirectoryConfig{CheckChain: func(peer string, _ ed25519.PublicKey, chain []*x509.Certificate) error {
		return chain[0].VerifyHostname(peer + ".example")
	}})
	goodKey, badKey := good.Leaf.PublicKey.(ed25519.PublicKey), bad.Leaf.PublicKey.(ed25519.PublicKey)
	w.change(func() {
		w.published["a"] = signer.KeySetView{Keys: []signer.PublishedKey{
			{Key: goodKey, Chain: []*x509.Certificate{good.Leaf}}, {Key: badKey, Chain: []*x509.Certificate{bad.Leaf}},
		}}
	})
	if _, err := w.Key(t.Context(), "a", signer.Thumbprint(goodKey)); err != nil {
		t.Error(err)
	}
	if _, err := w.Key(t.Context(), "a", signer.Thumbprint(badKey)); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if !slices.Contains(w.kinds(), signer.DirectoryRejected) {
		t.Error("no event")
	}
}

func TestSetPeersKeepsWhatIsKnownOfThoseThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1)
		w.publish("c", 3)
		w.has("a", 1)
		w.has("c", 3)
		if err := w.SetPeers([]signer.DirectoryPeer{{Name: "a"}}); err != nil {
			t.Fatal(err)
		}
		if !w.has("a", 1) || w.count("a") != 1 {
			t.Error("what was known of a is lost")
		}
		if w.has("c", 3) {
			t.Error("c is gone and its key is not")
		}
		if err := w.SetPeers([]signer.DirectoryPeer{{Name: ""}}); !errors.Is(err, signer.ErrConfig) || !w.has("a", 1) {
			t.Errorf("a bad list: %v", err)
		}
	})
}

func TestAllKeysOfAPeerAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.publish("a", 1, 2)
		keys, err := w.Keys(t.Context(), "a")
		if err != nil || len(keys) != 2 {
			t.Errorf("got %d keys, %v", len(keys), err)
		}
		if _, err := w.Keys(t.Context(), "nobody"); !errors.Is(err, signer.ErrNotFound) {
			t.Errorf("nobody: %v", err)
		}
	})
}

func TestStalledPeerIsGivenUpAndClosingEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.change(func() { w.delay = time.Hour })
		began := time.Now()
		if err := w.Refresh(t.Context(), "a"); err == nil || time.Since(began) != 2*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		done := make(chan error)
		go func() { done <- w.Refresh(t.Context(), "a") }()
		synctest.Wait()
		_ = w.Close()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that Close ended it", err)
		}
		if err := w.Refresh(t.Context(), "a"); !errors.Is(err, signer.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestRefreshOfADirectoryIsNotContentWithAnEarlierFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, signer.DirectoryConfig{})
		w.change(func() { w.delay = time.Second })
		w.publish("a", 1)
		done := make(chan error)
		go func() { done <- w.Refresh(t.Context(), "a") }()
		synctest.Wait()
		w.publish("a", 2)
		for range 10 {
			go func() { done <- w.Refresh(t.Context(), "a") }()
		}
		for range 11 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := w.fetches["a"]; n != 2 {
			t.Errorf("%d fetches, want the first and one for those who came during it", n)
		}
		if _, err := w.Key(t.Context(), "a", signer.Thumbprint(testPublic(t, testKey(t, 2)))); err != nil {
			t.Errorf("the new key: %v", err)
		}
	})
}

func TestDirectoryRefusesABadConfiguration(t *testing.T) {
	key := testKey(t, 1).Public()
	for name, c := range map[string]signer.DirectoryConfig{
		"no name":         {Peers: []signer.DirectoryPeer{{}}},
		"a name twice":    {Peers: []signer.DirectoryPeer{{Name: "a"}, {Name: "a"}}},
		"a key twice":     {Peers: []signer.DirectoryPeer{{Name: "a", Keys: []crypto.PublicKey{key}}, {Name: "c", Keys: []crypto.PublicKey{key}}}},
		"no Ed25519":      {Peers: []signer.DirectoryPeer{{Name: "a", Keys: []crypto.PublicKey{"key"}}}},
		"negative time":   {FetchTimeout: -1},
		"reversed limits": {MinValidity: time.Hour, MaxValidity: time.Minute},
	} {
		if _, err := signer.NewKeyDirectory(c); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}

func TestHTTPFetchTakesOnlyAWholeSmallAnswer(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle(signer.DirectoryPath, signer.DirectoryHandler(func() signer.KeySetView {
		return signer.KeySetView{Keys: []signer.PublishedKey{{Key: testPublic(t, testKey(t, 1))}}}
	}))
	mux.Handle("/elsewhere/", http.RedirectHandler(signer.DirectoryPath, http.StatusFound))
	mux.HandleFunc("/large/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat(" ", signer.MaxDirectorySize+1)))
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	bases := map[string]string{"a": srv.URL, "slash": srv.URL + "/", "elsewhere": srv.URL + "/elsewhere", "large": srv.URL + "/large", "down": "http://127.0.0.1:0", "bad": "::"}
	fetch := signer.HTTPFetch(srv.Client().Transport, func(peer string) string { return bases[peer] })
	for peer, want := range map[string]error{
		"a": nil, "slash": nil, "elsewhere": signer.ErrUnavailable, "large": signer.ErrMaterial,
		"down": signer.ErrUnavailable, "bad": signer.ErrConfig, "nobody": signer.ErrNotFound,
	} {
		data, err := fetch(t.Context(), peer)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", peer, err, want)
		}
		if want == nil {
			if v, err := signer.ParseJWKS(data); err != nil || len(v.Keys) != 1 {
				t.Errorf("%s: %+v, %v", peer, v, err)
			}
		}
	}
}
