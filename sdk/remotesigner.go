package sdk

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"io"
	"time"
)

// remoteSignTimeout bounds one signature. A handshake waits for it.
const remoteSignTimeout = 10 * time.Second

// RemoteSigner makes a crypto.Signer of a key that lives elsewhere: in a KMS, an HSM, an agent. It serves as the
// PrivateKey of an Identity's certificate and, if it is Ed25519, for signer.KeyOf.
//
// Since a crypto.Signer takes no context, each call of sign has one that ends after 10 s, and Sign returns by then.
// Every signature that comes back is verified against pub before it is handed on (ErrMaterial if it fails): a
// backend that signs with a rotated key must come with the new public key, as a new signer.
//
// What sign is given:
//
//   - Ed25519: the whole message, with opts.HashFunc() == 0 (RFC 8032).
//   - ECDSA: a digest; the signature is ASN.1 DER.
//   - RSA: a digest, with *rsa.PSSOptions whose SaltLength is a number of bytes, never one of the special values, or
//     with a crypto.Hash for PKCS #1 v1.5.
//
// Other kinds of key are ErrUnsupported. The signer is safe for concurrent use if sign is.
func RemoteSigner(pub crypto.PublicKey, sign func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)) crypto.Signer {
	return &remoteSigner{pub: pub, sign: sign, timeout: remoteSignTimeout}
}

type remoteSigner struct {
	pub     crypto.PublicKey
	sign    func(context.Context, []byte, crypto.SignerOpts) ([]byte, error)
	timeout time.Duration
}

func (s *remoteSigner) Public() crypto.PublicKey { return s.pub }

// Sign ignores the source of randomness: the other side has its own.
func (s *remoteSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.sign == nil {
		return nil, fmt.Errorf("sdk: remote signer: there is no function to sign with: %w", ErrConfig)
	}
	opts, err := explicit(s.pub, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("sdk: remote signer: %w", err)
	}
	sig, err := s.call(bytes.Clone(digest), opts)
	if err != nil {
		return nil, fmt.Errorf("sdk: remote signer: %w", err)
	}
	if !verifies(s.pub, digest, sig, opts) {
		return nil, fmt.Errorf("sdk: remote signer: the signature that came back does not verify under the public key; has the key been rotated? %w", ErrMaterial)
	}
	return sig, nil
}

func (s *remoteSigner) call(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	type answer struct {
		sig []byte
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer cancel()
		sig, err := s.sign(ctx, digest, opts)
		done <- answer{bytes.Clone(sig), err}
	}()
	select {
	case a := <-done:
		return a.sig, a.err
	case <-ctx.Done():
		select { // it may have ended because the answer is there
		case a := <-done:
			return a.sig, a.err
		default:
		}
		return nil, fmt.Errorf("no signature within %v: %w", s.timeout, ErrUnavailable)
	}
}

// explicit checks what is to be signed, and puts numbers in the place of special values.
func explicit(pub crypto.PublicKey, digest []byte, opts crypto.SignerOpts) (crypto.SignerOpts, error) {
	if opts == nil {
		return nil, fmt.Errorf("there are no options: %w", ErrConfig)
	}
	hash := opts.HashFunc()
	if hash != 0 {
		if !hash.Available() {
			return nil, fmt.Errorf("hash %v is not linked into this program: %w", hash, ErrUnsupported)
		}
		if len(digest) != hash.Size() {
			return nil, fmt.Errorf("digest of %d bytes, want %d for %v: %w", len(digest), hash.Size(), hash, ErrConfig)
		}
	}
	switch key := pub.(type) {
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("Ed25519 public key of %d bytes, want %d: %w", len(key), ed25519.PublicKeySize, ErrConfig)
		}
		return opts, nil
	case *ecdsa.PublicKey:
		return opts, nil
	case *rsa.PublicKey:
		pss, ok := opts.(*rsa.PSSOptions)
		if !ok {
			return opts, nil
		}
		if hash == 0 {
			return nil, fmt.Errorf("PSS options without a hash: %w", ErrConfig)
		}
		salt := pss.SaltLength
		switch salt {
		case rsa.PSSSaltLengthEqualsHash:
			salt = hash.Size()
		case rsa.PSSSaltLengthAuto: // as long as fits (RFC 8017, section 9.1.1)
			salt = (key.N.BitLen()-1+7)/8 - 2 - hash.Size()
		}
		if salt < 0 {
			return nil, fmt.Errorf("salt of %d bytes for an RSA key of %d bits: %w", salt, key.N.BitLen(), ErrConfig)
		}
		return &rsa.PSSOptions{SaltLength: salt, Hash: hash}, nil
	default:
		return nil, fmt.Errorf("public key is %T, want Ed25519, ECDSA or RSA: %w", pub, ErrUnsupported)
	}
}

func verifies(pub crypto.PublicKey, digest, sig []byte, opts crypto.SignerOpts) bool {
	switch key := pub.(type) {
	case ed25519.PublicKey:
		if o, ok := opts.(*ed25519.Options); ok {
			return ed25519.VerifyWithOptions(key, digest, sig, o) == nil
		}
		return opts.HashFunc() == 0 && ed25519.Verify(key, digest, sig)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, sig)
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(key, pss.Hash, digest, sig, pss) == nil
		}
		return rsa.VerifyPKCS1v15(key, opts.HashFunc(), digest, sig) == nil
	}
	return false
}
