package signer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"

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

// KeyOf makes a Key of an Ed25519 crypto.Signer, such as an ed25519.PrivateKey. The context of Sign is
// only looked at before signing, since a crypto.Signer takes none.
func KeyOf(s crypto.Signer) (Key, error) {
	if s == nil {
		return nil, fmt.Errorf("signer: no key: %w", fault.ErrConfig)
	}
	pub, ok := s.Public().(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("signer: key is %T, want Ed25519: %w", s.Public(), fault.ErrConfig)
	}
	return cryptoKey{s, pub}, nil
}

type cryptoKey struct {
	signer crypto.Signer
	public ed25519.PublicKey
}

func (k cryptoKey) Public() crypto.PublicKey { return k.public }

func (k cryptoKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return k.signer.Sign(nil, message, crypto.Hash(0))
}
