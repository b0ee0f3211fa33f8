package transport_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A remoteKey is a key elsewhere, whose keeper may replace it.
type remoteKey struct {
	crypto.Signer
	gone atomic.Bool
}

func (k *remoteKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.gone.Load() {
		return nil, fmt.Errorf("version 1 may not sign: %w", fault.ErrExpired)
	}
	return k.Signer.Sign(r, digest, opts)
}

func remote(c *tls.Certificate) (*tls.Certificate, *remoteKey) {
	out, key := *c, &remoteKey{Signer: c.PrivateKey.(crypto.Signer)}
	out.PrivateKey = key
	return &out, key
}

// messageKey is a remote key that signs whole messages (crypto.MessageSigner) and nothing else.
type messageKey struct{ *remoteKey }

func (k messageKey) SignMessage(r io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.gone.Load() {
		return k.Sign(r, nil, opts)
	}
	h := opts.HashFunc().New()
	h.Write(message)
	return k.Signer.Sign(r, h.Sum(nil), opts)
}

func (k messageKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, fmt.Errorf("only whole messages: %w", fault.ErrExpired)
}

func TestAKeyThatIsGoneIsToldOnceAndTheConnectionsServeOn(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("message signer %v", whole), func(t *testing.T) {
			ca := sdktest.NewCA(t)
			a := newNode(t, "a", transport.Options{}, nil)
			b := newNode(t, "b", transport.Options{}, nil)
			join(t, ca, b, a)
			material := func(c *tls.Certificate) transport.Material {
				return transport.Material{Identity: c, Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
			}
			next := func() (*tls.Certificate, *remoteKey) {
				c, k := remote(a.issue(t, ca))
				if whole {
					c.PrivateKey = messageKey{k}
				}
				return c, k
			}
			first, firstKey := next()
			update(t, a.tr, material(first))
			before := mustSend(t, a, b, "x").Get("X-Serial")

			second, secondKey := next()
			secondKey.gone.Store(true) // between the pull and the first handshake
			if err := a.tr.Update(t.Context(), material(second)); !errors.Is(err, fault.ErrExpired) {
				t.Fatalf("Update: %v, want ErrExpired", err)
			}
			firstKey.gone.Store(true)
			if now := mustSend(t, a, b, "x").Get("X-Serial"); now != before {
				t.Errorf("sent as %s, want as %s", now, before)
			}
			if n := a.events.count(transport.EventKeyGone); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
			if st := a.tr.Stats(); st.Generation != 2 || st.Draining != 0 {
				t.Errorf("stats %+v", st)
			}

			third, _ := next()
			update(t, a.tr, material(third))
			if now := mustSend(t, a, b, "x").Get("X-Serial"); now == before {
				t.Errorf("sent as before, after another identity came")
			}
			if st := peerStats(t, a.tr, "b"); st.Cold != 1 {
				t.Errorf("%d requests waited for a dial, want the first alone", st.Cold)
			}
		})
	}
}

// What a key said goes with its handle: the same one comes again and again in what is pulled because of it.
func TestAKeyThatIsGoneIsToldAgainWhileItsHandleStays(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, b, a)
	id, key := remote(a.issue(t, ca))
	key.gone.Store(true)
	began := time.Now()
	eventually(t, "told again", func() bool {
		update(t, a.tr, transport.Material{Identity: id, Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
		if _, err := a.tr.Dial(t.Context(), "b", "http/1.1"); err == nil {
			t.Fatal("connected with a key that is gone")
		}
		return a.events.count(transport.EventKeyGone) == 2
	})
	if d := time.Since(began); d < time.Second {
		t.Errorf("told twice within %v, want once a second at most", d)
	}
}

// A slowKey says that it is gone when it is let.
type slowKey struct {
	crypto.Signer
	asked, answer chan struct{}
}

func (k slowKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	close(k.asked)
	<-k.answer
	return nil, fmt.Errorf("version 1 may not sign: %w", fault.ErrExpired)
}

func TestWhatAReplacedHandleSaysConcernsNobody(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{ConnectTimeout: patient}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, b, a)
	good := a.issue(t, ca)
	m := transport.Material{Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
	with := func(key crypto.Signer) {
		id := *good
		id.PrivateKey = key
		m.Identity = &id
		update(t, a.tr, m)
	}
	old := slowKey{good.PrivateKey.(crypto.Signer), make(chan struct{}), make(chan struct{})}
	with(old)
	ended := make(chan error, 1)
	go func() {
		_, err := a.tr.Dial(t.Context(), "b", "http/1.1")
		ended <- err
	}()
	<-old.asked
	with(&remoteKey{Signer: old.Signer})
	close(old.answer)
	if err := wantEnd(t, ended); err == nil {
		t.Error("connected with a key that is gone")
	}
	if n := a.events.count(transport.EventKeyGone); n != 0 {
		t.Errorf("%d events of a handle that was replaced", n)
	}
	mustSend(t, a, b, "x")
}

func TestAnUpdateWhileWarmingDoesNotReviveAKeyThatIsGone(t *testing.T) {
	ca := sdktest.NewCA(t)
	var slow atomic.Pointer[string]
	dialing, goOn := make(chan struct{}), make(chan struct{})
	a := newNode(t, "a", transport.Options{WarmTimeout: patient, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if s := slow.Load(); s != nil && addr == *s {
			close(dialing)
			<-goOn
			return nil, errors.New("no connection")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	c := newNode(t, "c", transport.Options{}, nil)
	join(t, ca, a, b, c)
	before := mustSend(t, a, b, "x").Get("X-Serial")
	mustSend(t, a, c, "x")

	slow.Store(&c.addr)
	id, key := remote(a.issue(t, ca))
	key.gone.Store(true)
	m := transport.Material{Identity: id, Trust: trust(ca), Peers: []transport.Peer{b.peer(), c.peer()}}
	ended := make(chan error, 1)
	go func() { ended <- a.tr.Update(t.Context(), m) }()
	<-dialing
	eventually(t, "the key said that it is gone", func() bool { return a.events.count(transport.EventKeyGone) == 1 })
	m.Trust = trust(ca, sdktest.NewCA(t))
	update(t, a.tr, m)
	close(goOn)
	if err := wantEnd(t, ended); !errors.Is(err, fault.ErrExpired) {
		t.Errorf("Update: %v, want ErrExpired", err)
	}
	if now := mustSend(t, a, b, "x").Get("X-Serial"); now != before {
		t.Errorf("sent as %s, want as %s", now, before)
	}
}
