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
	"reflect"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// use makes c the identity of g: at first, and when the same certificate comes with another handle of its key. A
// key that lives elsewhere is watched for saying that it will not sign any more; what it said holds for as long as
// its handle stays.
func (g *generation) use(c *tls.Certificate) {
	if c != nil {
		switch key := c.PrivateKey.(type) {
		case ed25519.PrivateKey, *ecdsa.PrivateKey, *rsa.PrivateKey: // in this process, and never gone
		case crypto.Signer:
			w := watchOf(g.identity.Load())
			if w == nil || !sameHandle(w.handle, key) {
				w = &keyWatch{gen: g, handle: key}
			}
			watched := *c
			watched.PrivateKey = watchedKey{key, w}
			if m, ok := key.(crypto.MessageSigner); ok {
				watched.PrivateKey = watchedMessageKey{watchedKey{key, w}, m}
			}
			c = &watched
		}
	}
	g.identity.Store(c)
}

// keyGone reports whether the key of g's identity has said that it will not sign any more.
func (g *generation) keyGone() bool {
	w := watchOf(g.identity.Load())
	return w != nil && w.gone.Load()
}

// A keyWatch is what is known of one handle of a key.
type keyWatch struct {
	gen    *generation
	handle crypto.Signer
	gone   atomic.Bool
	told   atomic.Int64 // clock() of the last event; 0: none
}

// watchOf returns the watch of an identity's key, or nil if there is none.
func watchOf(c *tls.Certificate) *keyWatch {
	if c == nil {
		return nil
	}
	switch k := c.PrivateKey.(type) {
	case watchedKey:
		return k.watch
	case watchedMessageKey:
		return k.watch
	}
	return nil
}

// sameHandle reports whether a and b are one handle. Those that cannot be compared count as two.
func sameHandle(a, b crypto.Signer) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// keyGoneEvery is how often a key that is gone is told of while it is asked: the pull that it causes may still
// bring the same one.
const keyGoneEvery = time.Second

// failed takes note that the handle will not sign any more. One that was replaced meanwhile concerns nobody.
func (w *keyWatch) failed(err error) {
	w.gone.Store(true)
	if watchOf(w.gen.identity.Load()) != w {
		return
	}
	now, last := clock(), w.told.Load()
	if last != 0 && now-last < int64(keyGoneEvery) || !w.told.CompareAndSwap(last, now) {
		return
	}
	w.gen.t.event(Event{Type: EventKeyGone, Generation: w.gen.id, Err: err})
}

// A watchedKey is the key of an identity. Its signatures are asked for by crypto/tls, which keeps of an error its
// text alone.
type watchedKey struct {
	crypto.Signer
	watch *keyWatch
}

func (k watchedKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.look(k.Signer.Sign(r, digest, opts))
}

func (k watchedKey) look(sig []byte, err error) ([]byte, error) {
	if errors.Is(err, fault.ErrExpired) {
		k.watch.failed(err)
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
	if made > 0 {
		return nil
	}
	t.mu.Lock()
	if !g.keyGone() { // with mu held: another handle may come, and is not to be lost with g
		t.mu.Unlock()
		return nil
	}
	if t.next == g {
		t.next = nil
	}
	t.mu.Unlock()
	g.retire()
	return fmt.Errorf("Material.Identity: its key will not sign any more, and the identity before serves on; give the one that took its place: %w", fault.ErrExpired)
}
