package sdk_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// build makes a Federation of a node's material whose only peers are given.
func (n *node) build(t *testing.T, change func(*sdk.Builder), peers ...sdk.Peer) *sdk.Federation {
	t.Helper()
	b := sdk.Builder{Trust: n.trust, Identity: n.identity, Key: n.key, Peers: peers, Quorum: quorum.Policy{Writes: 1}, OnEvent: n.onEvent}
	if change != nil {
		change(&b)
	}
	fed, err := b.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fed.Close() })
	return fed
}

func get(t *testing.T, fed *sdk.Federation, url string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := fed.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestARestartedPeerGetsMessagesSignedAgain(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	for round := range 3 {
		// Another Federation of b behind the same server is what a restart is to a: what was spent is forgotten.
		fed := b.build(t, nil, sdk.Peer{Name: "a", URL: a.url(), ServerName: "a.example"})
		b.server.Handler = fed.Verify(echo)
		for range 5 {
			if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("round %d: %v, refused as %q", round, err, signer.RefusalOf(resp))
			}
		}
	}
}

func TestAKeyThatThePeerDoesNotPublishIsRefused(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	rogue, err := signer.KeyOf(sdktest.Ed25519(t))
	if err != nil {
		t.Fatal(err)
	}
	// The same certificate, another key: whoever stole the one has not the other.
	fed := a.build(t, func(bu *sdk.Builder) { bu.Key = &source{key: rogue} }, sdk.Peer{Name: "b", URL: b.url(), ServerName: "b.example"})
	if resp := get(t, fed, b.url()+"/x"); resp.StatusCode != http.StatusUnauthorized || signer.RefusalOf(resp) != signer.TagKeyUnknown {
		t.Errorf("status %d, %q; want 401 key_unknown", resp.StatusCode, signer.RefusalOf(resp))
	}
	if d := b.fed.Status().Peers[0].Denied[signer.TagKeyUnknown]; d == 0 {
		t.Error("the refusal was not counted for its peer")
	}
}

func TestAKeyThatTwoPeersClaimIsRefusedAndReported(t *testing.T) {
	m := newMesh(t, 3, echo, nil)
	a, b, c := m.nodes[0], m.nodes[1], m.nodes[2]
	b.key.mu.Lock()
	shared := b.key.key
	b.key.mu.Unlock()
	c.key.set(func(s *source) { s.key = shared })
	c.waitChange(t, sdk.RoleKey, 2)
	_, _ = post(t, b, a, "x")
	resp, err := post(t, c, a, "x")
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a key claimed by two passed: %v, %v", resp, err)
	}
	a.waitEvent(t, "key-conflict", func(e sdk.Event) bool { return e.Kind == sdk.EventKeyConflict })
}

func TestConfiguredKeysNeedNoDirectory(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	fed := b.build(t, nil, sdk.Peer{Name: "a", URL: a.url(), ServerName: "a.example", Keys: keysOf(a.key.key)})
	a.server.Close() // no directory to be asked
	b.server.Handler = fed.Verify(echo)
	if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v, refused as %q", err, signer.RefusalOf(resp))
	}
}

func TestTheWireOfAPeerIsNeverNegotiated(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	fed := b.build(t, nil, sdk.Peer{Name: "a", URL: a.url(), ServerName: "a.example", Wire: signer.WireAIMemory})
	b.server.Handler = fed.Verify(echo)
	resp, err := post(t, a, b, "x")
	if err != nil || resp.StatusCode == http.StatusOK || signer.RefusalOf(resp) == "" {
		t.Errorf("a message in another profile than the configured one: %v, %v", resp, err)
	}
}

func TestAFarClockIsReportedOnceAndInStatus(t *testing.T) {
	ahead := 10 * time.Minute
	m := newMesh(t, 2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	}), nil)
	a, b := m.nodes[0], m.nodes[1]
	for range 2 {
		if _, err := post(t, a, b, "x"); err != nil {
			t.Fatal(err)
		}
	}
	a.waitEvent(t, "clock-skew", func(e sdk.Event) bool { return e.Kind == sdk.EventClockSkew && e.Peer == "b" })
	got := a.fed.Status().Peers[0].ClockSkew
	if got < ahead-5*time.Second || got > ahead+5*time.Second {
		t.Errorf("skew %v, want about %v", got, ahead)
	}
	a.fed.Close()
	count := 0
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e.Kind == sdk.EventClockSkew {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d warnings, want one", count)
	}
}

func TestAFarClockIsReportedWhenItsMessagesAreRefused(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	s := &stranger{ca: m.ca.Certificate, cert: a.identity.cert, key: a.key.key, addr: b.listener.Addr().String()}
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		l := newLetterhead()
		l.created += int64(off.Seconds())
		l.expires += int64(off.Seconds())
		s.sign(t, l)
		if r, err := s.send1(t, l); err != nil || r.status != http.StatusUnauthorized {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := b.fed.Status().Peers[0].ClockSkew; (got - off).Abs() > time.Minute {
			t.Errorf("skew in Status is %v, want about %v", got, off)
		}
	}
	b.waitEvent(t, "clock-skew", func(e sdk.Event) bool { return e.Kind == sdk.EventClockSkew && e.Peer == "a" })
}

func TestServerRefusesWhatComesWithoutTLS(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := m.nodes[0].fed.Server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was reached") }))
	go srv.Serve(l) // a mistake: no TLS
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || signer.RefusalOf(resp) != sdk.TagTLSRequired {
		t.Errorf("status %d, %q; want 403 tls_required", resp.StatusCode, signer.RefusalOf(resp))
	}
}

func TestAPlaintextPeerIsKnownByItsKeyAlone(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	plain := func(bu *sdk.Builder) { bu.AllowPlaintext = true }
	fedB := b.build(t, plain, sdk.Peer{Name: "a", URL: "http://127.0.0.1:1", Keys: keysOf(a.key.key)})
	srv := httptest.NewServer(fedB.Verify(echo))
	defer srv.Close()
	fedA := a.build(t, plain, sdk.Peer{ID: "b.example", URL: srv.URL})
	if resp := get(t, fedA, srv.URL+"/x"); resp.StatusCode != http.StatusOK || resp.Header.Get("X-From") != "a" {
		t.Errorf("status %d, from %q, refused as %q", resp.StatusCode, resp.Header.Get("X-From"), signer.RefusalOf(resp))
	}
	rogue, _ := signer.KeyOf(sdktest.Ed25519(t))
	fedC := a.build(t, func(bu *sdk.Builder) { plain(bu); bu.Key = &source{key: rogue} }, sdk.Peer{ID: "b.example", URL: srv.URL})
	if resp := get(t, fedC, srv.URL+"/x"); resp.StatusCode == http.StatusOK {
		t.Error("a stranger's key passed")
	}
}

func TestNoSecretShowsInStatusEventsOrErrors(t *testing.T) {
	const secret = "hunter2-and-more"
	m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
		b.APIKey = func(context.Context, sdk.Peer) (string, error) { return secret, nil }
		b.Authorize = func(sdk.Peer, *http.Request) error { return errors.New("no") }
	})
	a, b := m.nodes[0], m.nodes[1]
	_, err := post(t, a, b, "x")
	text := errText(err)
	for _, n := range m.nodes {
		text += statusText(n.fed.Status())
		n.mu.Lock()
		for _, e := range n.events {
			text += e.Detail + errText(e.Err)
		}
		n.mu.Unlock()
	}
	if strings.Contains(text, secret) {
		t.Error("the API key shows")
	}
}

func TestWarmFetchesTheKeysThatAcksAreVerifiedWith(t *testing.T) {
	var fetched atomic.Int64
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	next := b.server.Handler
	b.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == signer.DirectoryPath {
			fetched.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	if err := a.fed.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("the key directory was asked %d times, want once", n)
	}
	b.server.Close()
	c := a.build(t, nil, sdk.Peer{Name: "b", URL: b.url(), ServerName: "b.example"})
	if err := c.Warm(t.Context()); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("a peer that is down: %v, want ErrUnavailable", err)
	}
}

// A vault is a key provider whose keys the test can retire.
type vault struct {
	key   atomic.Pointer[retirable]
	pulls atomic.Int32
}

func (v *vault) SigningKeys(context.Context) (*sdk.KeySet, error) {
	v.pulls.Add(1)
	return &sdk.KeySet{Active: v.key.Load()}, nil
}

type retirable struct {
	signer.Key
	retired atomic.Bool
	refused chan struct{} // nil, or told of the first signature that is refused
}

func (r *retirable) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if r.retired.Load() {
		select {
		case r.refused <- struct{}{}:
		default:
		}
		return nil, sdk.ErrExpired
	}
	return r.Key.Sign(ctx, message)
}

func TestAKeyThatStaysRetiredIsNotPulledForEveryRequest(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	var v vault
	key := &retirable{Key: a.key.key}
	v.key.Store(key)
	fed := a.build(t, func(builder *sdk.Builder) { builder.Key = &v }, sdk.Peer{Name: "b", URL: b.url(), ServerName: "b.example"})
	key.retired.Store(true)
	before := v.pulls.Load()
	for range 50 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := fed.Client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if !errors.Is(err, sdk.ErrExpired) {
			t.Fatalf("request: %v, want ErrExpired", err)
		}
	}
	if n := v.pulls.Load() - before; n == 0 || n > 10 {
		t.Errorf("%d pulls for 50 requests, want one and a few at most", n)
	}
}

// A slowVault answers a pull with the key of the moment when it was asked, once the test lets it.
type slowVault struct {
	key   atomic.Pointer[signer.Key]
	asked chan chan struct{} // nil: it answers at once
}

func (v *slowVault) use(k signer.Key) { v.key.Store(&k) }

func (v *slowVault) SigningKeys(ctx context.Context) (*sdk.KeySet, error) {
	set := &sdk.KeySet{Active: *v.key.Load()}
	if v.asked == nil {
		return set, nil
	}
	answer := make(chan struct{})
	v.asked <- answer
	select {
	case <-answer:
		return set, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func tryGet(t *testing.T, fed *sdk.Federation, url string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := fed.Client().Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// The pull that was under way when the key was retired knows nothing of it: no request fails because of that.
func TestARequestWhoseKeyWasRetiredDuringAPullIsSignedWithTheNext(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	v := &slowVault{}
	first := &retirable{Key: a.key.key, refused: make(chan struct{}, 1)}
	v.use(first)
	fed := a.build(t, func(builder *sdk.Builder) { builder.Key = v }, sdk.Peer{Name: "b", URL: b.url(), ServerName: "b.example"})
	v.asked = make(chan chan struct{})
	refreshed := make(chan error, 1)
	go func() { refreshed <- fed.Refresh(t.Context()) }()
	early := <-v.asked
	first.retired.Store(true)
	v.use(a.key.key) // the same key, in another session: b knows it
	requested := make(chan error, 1)
	go func() { requested <- tryGet(t, fed, b.url()) }()
	<-first.refused
	close(early)
	select {
	case answer := <-v.asked:
		close(answer)
	case err := <-requested:
		t.Fatalf("the request ended with what was known before: %v", err)
	}
	if err := <-requested; err != nil {
		t.Errorf("the request: %v", err)
	}
	if err := <-refreshed; err != nil {
		t.Errorf("the refresh: %v", err)
	}
}

// A fleeting key is retired after its first signature, which is the one that it proves itself with.
type fleeting struct {
	retirable
	then func()
}

func (k *fleeting) Sign(ctx context.Context, message []byte) ([]byte, error) {
	sig, err := k.retirable.Sign(ctx, message)
	if !k.retired.Swap(true) {
		k.then()
	}
	return sig, err
}

func TestARequestOutlivesKeysThatAreRetiredInTurn(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	v := &slowVault{}
	first := &retirable{Key: a.key.key}
	v.use(first)
	fed := a.build(t, func(builder *sdk.Builder) { builder.Key = v }, sdk.Peer{Name: "b", URL: b.url(), ServerName: "b.example"})
	other, err := signer.KeyOf(sdktest.Ed25519(t))
	if err != nil {
		t.Fatal(err)
	}
	v.use(&fleeting{retirable: retirable{Key: other}, then: func() { v.use(a.key.key) }})
	first.retired.Store(true)
	if err := tryGet(t, fed, b.url()); err != nil {
		t.Error(err)
	}
}
