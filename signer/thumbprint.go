package signer

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/alphaonedev/federation/internal/fault"
)

// ThumbprintLen is the length of what Thumbprint returns.
const ThumbprintLen = 43

const jwkHead, jwkTail = `{"crv":"Ed25519","kty":"OKP","x":"`, `"}`

// Thumbprint is the key id of a public key: the base64url form, without padding, of the SHA-256 of the
// key's JWK (RFC 7638 section 3, RFC 8037 appendix A.3).
func Thumbprint(pub ed25519.PublicKey) string {
	t := thumbprint(pub)
	return string(t[:])
}

func thumbprint(pub ed25519.PublicKey) (t [ThumbprintLen]byte) {
	var room [len(jwkHead) + ThumbprintLen + len(jwkTail)]byte
	jwk := append(room[:0], jwkHead...)
	jwk = base64.RawURLEncoding.AppendEncode(jwk, pub)
	jwk = append(jwk, jwkTail...)
	sum := sha256.Sum256(jwk)
	base64.RawURLEncoding.Encode(t[:], sum[:])
	return t
}

// PublicKeyOf checks that a key is one that this package verifies with and returns it as that type. A key
// of another algorithm or length matches ErrUnsupported. A point of small order matches ErrMaterial: it
// makes signatures that hold for any message, so it proves nothing to a third party.
func PublicKeyOf(key crypto.PublicKey) (ed25519.PublicKey, error) {
	pub, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("signer: public key is %T, want Ed25519: %w", key, fault.ErrUnsupported)
	}
	if len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("signer: public key has %d bytes, want %d: %w", len(pub), ed25519.PublicKeySize, fault.ErrUnsupported)
	}
	if smallOrder(pub) {
		return nil, fmt.Errorf("signer: public key is a point of small order: %w", fault.ErrMaterial)
	}
	return pub, nil
}

// smallOrderY holds every encoding of the y coordinates of the eight points whose order divides the
// cofactor, the non-canonical ones included; the sign bit is left out.
var smallOrderY = [...][32]byte{
	{},
	{0: 1},
	{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	},
	{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	},
	nearP(0xec), // -1
	nearP(0xed), // p, which is 0
	nearP(0xee), // p+1, which is 1
}

// nearP is the encoding of a number near 2^255-19 by its low byte.
func nearP(low byte) (y [32]byte) {
	for i := range y {
		y[i] = 0xff
	}
	y[0], y[31] = low, 0x7f
	return y
}

// holds is the one place where a signature is judged. Go's Verify wants S reduced and compares R with its
// canonical encoding (RFC 8032 section 5.1.7, without the cofactor), so a signature has one form.
func holds(pub ed25519.PublicKey, message, sig []byte) bool {
	return len(pub) == ed25519.PublicKeySize && len(sig) == ed25519.SignatureSize && !smallOrder(pub) &&
		ed25519.Verify(pub, message, sig)
}

func smallOrder(pub ed25519.PublicKey) bool {
	y := [32]byte(pub)
	y[31] &= 0x7f
	for i := range smallOrderY {
		if y == smallOrderY[i] {
			return true
		}
	}
	return false
}
