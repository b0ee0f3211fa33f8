package signer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Key signs messages. One value is one immutable version of a key: rotation is another Key.
// Implementations are safe for concurrent use.
type Key interface {
	// Public is an ed25519.PublicKey (RFC 8032); any other kind is refused by what takes a Key.
	Public() crypto.PublicKey
	// Sign returns the 64-byte Ed25519 signature over message. The context bounds it; a key that lives
	// elsewhere may block until then.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// KeyOf makes a Key of an Ed25519 crypto.Signer, such as an ed25519.PrivateKey, whose two halves it checks
// and copies. The context of Sign is only looked at before signing, since a crypto.Signer takes none. A
// key of another kind matches ErrConfig. Printed or logged, a Key that KeyOf made shows as its thumbprint.
func KeyOf(s crypto.Signer) (Key, error) {
	if s == nil {
		return nil, fmt.Errorf("signer: no key: %w", fault.ErrConfig)
	}
	if p, ok := s.(ed25519.PrivateKey); ok {
		return privateKey(p)
	}
	pub, ok := s.Public().(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("signer: key is %T, want Ed25519: %w", s.Public(), fault.ErrConfig)
	}
	return &cryptoKey{func(message []byte) ([]byte, error) { return s.Sign(nil, message, crypto.Hash(0)) }, pub}, nil
}

// A cryptoKey is a key behind a crypto.Signer. Package fmt prints fields that are not exported too, without asking for
// a Format, and follows one pointer where the verb is wrong for it: here it finds a function.
type cryptoKey struct {
	sign   func(message []byte) ([]byte, error)
	public ed25519.PublicKey
}

// Format prints which key it is, whatever the verb.
func (k *cryptoKey) Format(f fmt.State, _ rune) { printKey(f, k.public) }

func (k *cryptoKey) Public() crypto.PublicKey { return k.public }

func (k *cryptoKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return k.sign(message)
}

// localKey is a private key in this process. Its halves are known to belong together, so what it signs
// needs no check. The private one is a pointer behind a pointer, which fmt does not follow.
type localKey struct {
	private *ed25519.PrivateKey
	public  ed25519.PublicKey
}

func privateKey(p ed25519.PrivateKey) (Key, error) {
	if len(p) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("signer: Ed25519 private key has %d bytes, want %d: %w", len(p), ed25519.PrivateKeySize, fault.ErrConfig)
	}
	own := ed25519.NewKeyFromSeed(p.Seed())
	if !own.Equal(p) {
		return nil, fmt.Errorf("signer: the public half of the Ed25519 private key does not belong to its seed: %w", fault.ErrConfig)
	}
	return &localKey{&own, own.Public().(ed25519.PublicKey)}, nil
}

// Format prints which key it is, whatever the verb.
func (k *localKey) Format(f fmt.State, _ rune) { printKey(f, k.public) }

func (k *localKey) Public() crypto.PublicKey { return k.public }

func (k *localKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return ed25519.Sign(*k.private, message), nil
}

// inProcess reports whether a key needs no check of what it signs.
func inProcess(k Key) bool {
	_, ok := k.(*localKey)
	return ok
}

func printKey(w io.Writer, public ed25519.PublicKey) {
	_, _ = io.WriteString(w, "key "+Thumbprint(public))
}
