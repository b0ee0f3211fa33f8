package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/alphaonedev/federation/internal/fault"
)

// use makes c the identity of g: at first, and when the same certificate comes with another handle of its key. A
// key that lives elsewhere is watched for saying that it will not sign any more.
func (g *generation) use(c *tls.Certificate) {
	g.keyGone.Store(false)
	if c != nil {
		switch key := c.PrivateKey.(type) {
		case ed25519.PrivateKey, *ecdsa.PrivateKey, *rsa.PrivateKey: // in this process, and never gone
		case crypto.Signer:
			watched := *c
			watched.PrivateKey = watchedKey{key, g}
			if m, ok := key.(crypto.MessageSigner); ok {
				watched.PrivateKey = watchedMessageKey{watchedKey{key, g}, m}
			}
			c = &watched
		}
	}
	g.identity.Store(c)
}

// A watchedKey is the key of an identity. Its signatures are asked for by crypto/tls, which keeps of an error its
// text alone.
type watchedKey struct {
	crypto.Signer
	gen *generation
}

func (k watchedKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.look(k.Signer.Sign(r, digest, opts))
}

func (k watchedKey) look(sig []byte, err error) ([]byte, error) {
	if errors.Is(err, fault.ErrExpired) && !k.gen.keyGone.Swap(true) {
		k.gen.t.event(Event{Type: EventKeyGone, Generation: k.gen.id, Err: err})
	}
	return sig, err
}

type watchedMessageKey struct {
	watchedKey
	message crypto.MessageSigner
}

func (k watchedMessageKey) SignMessage(r io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.look(k.message.SignMessage(r, message, opts))
}

// stillborn gives g up if it could make no connection because its key is gone, so that those of the generation
// before serve on. The error says so.
func (t *Transport) stillborn(g *generation, made int) error {
	if made > 0 || !g.keyGone.Load() {
		return nil
	}
	t.mu.Lock()
	if t.next == g {
		t.next = nil
	}
	t.mu.Unlock()
	g.retire()
	return fmt.Errorf("Material.Identity: its key will not sign any more, and the identity before serves on; give the one that took its place: %w", fault.ErrExpired)
}
