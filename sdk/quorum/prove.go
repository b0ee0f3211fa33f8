package quorum

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"github.com/alphaonedev/federation/signer"
)

// AckDomain is the domain of the statements that prove acks; see signer.SignStatement.
const AckDomain = "ack/1"

// MaxSigned is the greatest number of acks that one signature covers.
const MaxSigned = 1 << MaxPath

// SignAcks proves acks with one signature: it sets Proof of each. It fails on an ack that cannot be
// encoded, on more than MaxSigned of them, and when the key fails; then no ack is changed. The context
// bounds a key that lives elsewhere.
func SignAcks(ctx context.Context, key signer.Key, acks ...*Ack) error {
	if len(acks) == 0 {
		return nil
	}
	if len(acks) > MaxSigned {
		return fmt.Errorf("quorum: %d acks for one signature, at most %d", len(acks), MaxSigned)
	}
	depth := 0
	for 1<<depth < len(acks) {
		depth++
	}
	level := make([]Hash, 1<<depth) // what no ack fills stays zero, which is the hash of nothing
	var buf []byte
	for i, a := range acks {
		if err := a.validate(); err != nil {
			return fmt.Errorf("quorum: ack: %w: %w", ErrMalformed, err)
		}
		buf = a.appendStatement(buf[:0])
		level[i] = leafHash(buf)
	}
	paths := make([][]Hash, len(acks))
	for range depth {
		for i := range paths {
			if paths[i] == nil {
				paths[i] = make([]Hash, 0, depth)
			}
			paths[i] = append(paths[i], level[(i>>len(paths[i]))^1])
		}
		for i := range len(level) / 2 {
			level[i] = nodeHash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	if key == nil {
		return fmt.Errorf("quorum: ack: no key to sign with: %w", ErrUnsigned)
	}
	pub, err := signer.PublicKeyOf(key.Public())
	if err != nil {
		return err
	}
	sig, err := signer.SignStatement(ctx, key, AckDomain, level[0][:])
	if err != nil {
		return fmt.Errorf("quorum: ack: %w", err)
	}
	id := signer.Thumbprint(pub)
	for i, a := range acks {
		a.Proof = &Proof{KeyID: id, Index: uint16(i), Path: paths[i], Signature: sig}
	}
	return nil
}

// Verify checks the proof of an ack against the key that its recipient is known to have. Errors match
// ErrUnsigned, ErrUnknownKey (the proof names another key), ErrSignature or ErrMalformed.
func (a *Ack) Verify(pub ed25519.PublicKey) error {
	return VerifyAcks([]*Ack{a}, func(_, id string) (ed25519.PublicKey, error) {
		if id != signer.Thumbprint(pub) {
			return nil, ErrUnknownKey
		}
		return pub, nil
	})[0]
}

// A KeyFunc returns the public key with that thumbprint of the node with that ID, or an error that matches
// ErrUnknownKey.
type KeyFunc func(node, keyID string) (ed25519.PublicKey, error)

// VerifyAcks checks many acks and returns an error or nil for each. A signature that covers several of them
// is verified once. The errors are those of Ack.Verify, and what keys returns.
func VerifyAcks(acks []*Ack, keys KeyFunc) []error {
	type signed struct {
		node, keyID string
		root        Hash
		sig         []byte
		err         error
	}
	errs := make([]error, len(acks))
	var done []signed
	var buf []byte
next:
	for i, a := range acks {
		p := a.Proof
		if p == nil {
			errs[i] = fmt.Errorf("quorum: ack of %s: %w", a.Recipient, ErrUnsigned)
			continue
		}
		if err := a.validate(); err != nil {
			errs[i] = fmt.Errorf("quorum: ack: %w: %w", ErrMalformed, err)
			continue
		}
		buf = a.appendStatement(buf[:0])
		root, ok := p.root(leafHash(buf))
		if !ok {
			errs[i] = fmt.Errorf("quorum: ack of %s: %w: path", a.Recipient, ErrMalformed)
			continue
		}
		for _, d := range done {
			if d.root == root && d.node == a.Recipient && d.keyID == p.KeyID && bytes.Equal(d.sig, p.Signature) {
				errs[i] = d.err
				continue next
			}
		}
		pub, err := keys(a.Recipient, p.KeyID)
		switch {
		case err != nil:
			err = fmt.Errorf("quorum: ack of %s: key %s: %w", a.Recipient, p.KeyID, err)
		case signer.Thumbprint(pub) != p.KeyID:
			err = fmt.Errorf("quorum: ack of %s: key %s: %w", a.Recipient, p.KeyID, ErrUnknownKey)
		case signer.VerifyStatement(pub, AckDomain, root[:], p.Signature) != nil:
			err = fmt.Errorf("quorum: ack of %s: %w", a.Recipient, ErrSignature)
		}
		errs[i] = err
		done = append(done, signed{a.Recipient, p.KeyID, root, p.Signature, err})
	}
	return errs
}

func (p *Proof) root(h Hash) (Hash, bool) {
	if len(p.Path) > MaxPath || int(p.Index)>>len(p.Path) != 0 {
		return Hash{}, false
	}
	for i, sibling := range p.Path {
		if p.Index>>i&1 == 0 {
			h = nodeHash(h, sibling)
		} else {
			h = nodeHash(sibling, h)
		}
	}
	return h, true
}

// leafHash and nodeHash open with different bytes, so that no node passes for a leaf.
func leafHash(statement []byte) Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(statement)
	return Hash(h.Sum(nil))
}

func nodeHash(left, right Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}
