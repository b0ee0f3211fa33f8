package transport_test

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

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
