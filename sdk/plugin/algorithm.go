package plugin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// fingerprint names a public key on the wire: SHA-256 of its SubjectPublicKeyInfo.
func fingerprint(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: public key: %w", fault.ErrMaterial, err)
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

// hashes is the table of plugin.proto's Hash.
var hashes = map[pluginpb.Hash]crypto.Hash{
	pluginpb.Hash_HASH_NONE:   0,
	pluginpb.Hash_HASH_SHA256: crypto.SHA256,
	pluginpb.Hash_HASH_SHA384: crypto.SHA384,
	pluginpb.Hash_HASH_SHA512: crypto.SHA512,
}

func wireHash(h crypto.Hash) (pluginpb.Hash, error) {
	for w, c := range hashes {
		if c == h {
			return w, nil
		}
	}
	return 0, fmt.Errorf("%w: hash %v cannot be sent to a plugin", fault.ErrUnsupported, h)
}

// schemesOf returns the TLS signature schemes that a key can do, the best first (RFC 8446, section 4.2.3).
func schemesOf(pub crypto.PublicKey) []tls.SignatureScheme {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return []tls.SignatureScheme{tls.Ed25519}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}
		case elliptic.P384():
			return []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}
		case elliptic.P521():
			return []tls.SignatureScheme{tls.ECDSAWithP521AndSHA512}
		}
	case *rsa.PublicKey:
		schemes := []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}
		if k.Size() < 2*64+2 { // too short for a salt of 64 octets (RFC 8017, section 9.1.1)
			schemes = schemes[:2]
		}
		return append(schemes, tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512)
	}
	return nil
}

// A scheme is a TLS signature scheme as crypto.SignerOpts.
func schemeOpts(s tls.SignatureScheme) (crypto.SignerOpts, error) {
	pss := func(h crypto.Hash) crypto.SignerOpts {
		return &rsa.PSSOptions{Hash: h, SaltLength: h.Size()}
	}
	switch s {
	case tls.Ed25519:
		return crypto.Hash(0), nil
	case tls.ECDSAWithP256AndSHA256, tls.PKCS1WithSHA256:
		return crypto.SHA256, nil
	case tls.ECDSAWithP384AndSHA384, tls.PKCS1WithSHA384:
		return crypto.SHA384, nil
	case tls.ECDSAWithP521AndSHA512, tls.PKCS1WithSHA512:
		return crypto.SHA512, nil
	case tls.PSSWithSHA256:
		return pss(crypto.SHA256), nil
	case tls.PSSWithSHA384:
		return pss(crypto.SHA384), nil
	case tls.PSSWithSHA512:
		return pss(crypto.SHA512), nil
	}
	return nil, fmt.Errorf("%w: signature scheme %v", fault.ErrUnsupported, s)
}

// signRequest puts what crypto.Signer is asked for on the wire, with hash and salt explicit.
func signRequest(pub crypto.PublicKey, print, input []byte, opts crypto.SignerOpts) (*pluginpb.IdentitySignRequest, error) {
	if opts == nil {
		opts = crypto.Hash(0)
	}
	hash := opts.HashFunc()
	wire, err := wireHash(hash)
	if err != nil {
		return nil, err
	}
	if hash != 0 && len(input) != hash.Size() {
		return nil, fmt.Errorf("%w: %d octets to sign are not a digest of %v", fault.ErrUnsupported, len(input), hash)
	}
	r := &pluginpb.IdentitySignRequest{Fingerprint: print, Hash: wire, Input: input}
	switch k := pub.(type) {
	case ed25519.PublicKey:
		if hash != 0 {
			return nil, fmt.Errorf("%w: Ed25519 signs whole messages, not a digest of %v", fault.ErrUnsupported, hash)
		}
		r.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ED25519
	case *ecdsa.PublicKey:
		r.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ECDSA
	case *rsa.PublicKey:
		r.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PKCS1V15
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			r.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PSS
			salt, err := saltLength(k, hash, pss.SaltLength)
			if err != nil {
				return nil, err
			}
			r.SaltLength = int32(salt)
		}
	default:
		return nil, fmt.Errorf("%w: a key of type %T", fault.ErrUnsupported, pub)
	}
	if hash == 0 && r.Algorithm != pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ED25519 {
		return nil, fmt.Errorf("%w: signing without a hash", fault.ErrUnsupported)
	}
	return r, nil
}

// saltLength makes the two special values of rsa.PSSOptions explicit (RFC 8017, section 9.1.1).
func saltLength(k *rsa.PublicKey, hash crypto.Hash, salt int) (int, error) {
	longest := (k.N.BitLen()-1+7)/8 - 2 - hash.Size()
	switch salt {
	case rsa.PSSSaltLengthEqualsHash:
		salt = hash.Size()
	case rsa.PSSSaltLengthAuto:
		salt = longest
	}
	if salt < 0 || salt > longest {
		return 0, fmt.Errorf("%w: a PSS salt of %d octets with %v and a key of %d bits",
			fault.ErrUnsupported, salt, hash, k.N.BitLen())
	}
	return salt, nil
}

// signOpts is signRequest's other direction: the author's side.
func signOpts(pub crypto.PublicKey, r *pluginpb.IdentitySignRequest) (crypto.SignerOpts, error) {
	hash, ok := hashes[r.Hash]
	if !ok {
		return nil, fmt.Errorf("%w: hash %v", fault.ErrUnsupported, r.Hash)
	}
	if hash != 0 && len(r.Input) != hash.Size() {
		return nil, fmt.Errorf("%w: %d octets are not a digest of %v", fault.ErrUnsupported, len(r.Input), hash)
	}
	fits := false
	var opts crypto.SignerOpts = hash
	switch k := pub.(type) {
	case ed25519.PublicKey:
		fits = r.Algorithm == pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ED25519 && hash == 0
	case *ecdsa.PublicKey:
		fits = r.Algorithm == pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ECDSA && hash != 0
	case *rsa.PublicKey:
		switch r.Algorithm {
		case pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PKCS1V15:
			fits = hash != 0
		case pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PSS:
			fits = hash != 0
			// On the wire, 0 is no salt at all; rsa.PSSOptions cannot say that.
			if r.SaltLength <= 0 || int(r.SaltLength) > (k.N.BitLen()-1+7)/8-2-hash.Size() {
				return nil, fmt.Errorf("%w: a PSS salt of %d octets", fault.ErrUnsupported, r.SaltLength)
			}
			opts = &rsa.PSSOptions{Hash: hash, SaltLength: int(r.SaltLength)}
		}
	}
	if !fits {
		return nil, fmt.Errorf("%w: %v with %v for a key of type %T", fault.ErrUnsupported, r.Algorithm, r.Hash, pub)
	}
	return opts, nil
}

var errSignature = errors.New("the signature does not verify with the public key")

// verify checks a signature over input, which is a digest wherever opts names a hash.
func verify(pub crypto.PublicKey, r *pluginpb.IdentitySignRequest, sig []byte) error {
	ok := false
	hash := hashes[r.Hash]
	switch k := pub.(type) {
	case ed25519.PublicKey:
		ok = len(k) == ed25519.PublicKeySize && ed25519.Verify(k, r.Input, sig)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, r.Input, sig)
	case *rsa.PublicKey:
		if r.Algorithm == pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PSS {
			ok = rsa.VerifyPSS(k, hash, r.Input, sig, &rsa.PSSOptions{Hash: hash, SaltLength: int(r.SaltLength)}) == nil
		} else {
			ok = rsa.VerifyPKCS1v15(k, hash, r.Input, sig) == nil
		}
	}
	if !ok {
		return fmt.Errorf("%w: %w", fault.ErrMaterial, errSignature)
	}
	return nil
}
