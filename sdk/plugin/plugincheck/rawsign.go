package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// A rawKey is a key that the plugin has told of, and how to ask for a signature with it.
type rawKey struct {
	role   pluginpb.Role
	print  []byte
	sign   func(context.Context) ([]byte, error)
	verify func(signature []byte) bool
}

var signed = []byte("plugincheck: over the wire")

// keys pulls the keys that the plugin has in roles.
func (p *process) keys(ctx context.Context, roles []pluginpb.Role) ([]rawKey, error) {
	var out []rawKey
	if has(roles, pluginpb.Role_ROLE_IDENTITY) {
		r, err := pluginpb.NewIdentityClient(p.conn).Identity(ctx, &pluginpb.IdentityRequest{})
		if err != nil {
			return nil, p.t.noted(err)
		}
		k, err := p.identityKey(r)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	if has(roles, pluginpb.Role_ROLE_KEY) {
		r, err := pluginpb.NewKeyClient(p.conn).SigningKeys(ctx, &pluginpb.SigningKeysRequest{})
		if err != nil {
			return nil, p.t.noted(err)
		}
		if len(r.Active) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("the active key has %d octets", len(r.Active))
		}
		public := ed25519.PublicKey(r.Active)
		request := &pluginpb.KeySignRequest{Fingerprint: fingerprint(public), Message: signed}
		out = append(out, rawKey{
			role: pluginpb.Role_ROLE_KEY, print: request.Fingerprint,
			sign: func(ctx context.Context) ([]byte, error) {
				answer, err := pluginpb.NewKeyClient(p.conn).Sign(ctx, request)
				return answer.GetSignature(), p.t.noted(err)
			},
			verify: func(signature []byte) bool { return ed25519.Verify(public, signed, signature) },
		})
	}
	return out, nil
}

func (p *process) identityKey(r *pluginpb.IdentityResponse) (rawKey, error) {
	if len(r.Chain) == 0 {
		return rawKey{}, errors.New("the chain is empty")
	}
	leaf, err := x509.ParseCertificate(r.Chain[0])
	if err != nil {
		return rawKey{}, err
	}
	first := slices.IndexFunc(r.SignatureSchemes, known)
	if first < 0 {
		return rawKey{}, errors.New("the identity declares no signature scheme that a node uses")
	}
	input, opts := toSign(tls.SignatureScheme(r.SignatureSchemes[first])) // what the key has declared, and no more
	hash := opts.HashFunc()
	request := &pluginpb.IdentitySignRequest{Fingerprint: r.Fingerprint, Hash: hashes[hash], Input: input}
	k := rawKey{role: pluginpb.Role_ROLE_IDENTITY, print: r.Fingerprint}
	switch public := leaf.PublicKey.(type) {
	case ed25519.PublicKey:
		request.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ED25519
		k.verify = func(signature []byte) bool { return ed25519.Verify(public, input, signature) }
	case *ecdsa.PublicKey:
		request.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ECDSA
		k.verify = func(signature []byte) bool { return ecdsa.VerifyASN1(public, input, signature) }
	case *rsa.PublicKey:
		request.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PKCS1V15
		k.verify = func(signature []byte) bool { return rsa.VerifyPKCS1v15(public, hash, input, signature) == nil }
		if _, pss := opts.(*rsa.PSSOptions); pss {
			request.Algorithm, request.SaltLength = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PSS, int32(hash.Size())
			k.verify = func(signature []byte) bool {
				return rsa.VerifyPSS(public, hash, input, signature, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
			}
		}
	default:
		return rawKey{}, fmt.Errorf("the leaf's key is a %T", leaf.PublicKey)
	}
	k.sign = func(ctx context.Context) ([]byte, error) {
		answer, err := pluginpb.NewIdentityClient(p.conn).Sign(ctx, request)
		return answer.GetSignature(), p.t.noted(err)
	}
	return k, nil
}

var hashes = map[crypto.Hash]pluginpb.Hash{
	0: pluginpb.Hash_HASH_NONE, crypto.SHA256: pluginpb.Hash_HASH_SHA256, crypto.SHA384: pluginpb.Hash_HASH_SHA384,
	crypto.SHA512: pluginpb.Hash_HASH_SHA512,
}

func sum(h crypto.Hash) []byte {
	w := h.New()
	w.Write(signed)
	return w.Sum(nil)
}

func fingerprint(public crypto.PublicKey) []byte {
	der, _ := x509.MarshalPKIXPublicKey(public)
	print := sha256.Sum256(der)
	return print[:]
}

// signs asks for one signature of every key.
func (p *process) signs(ctx context.Context, roles []pluginpb.Role) error {
	keys, err := p.keys(ctx, roles)
	if err != nil {
		return err
	}
	for _, k := range keys {
		signature, err := k.sign(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("%v: Sign: %w%s", k.role, err, p.tail())
		case !k.verify(signature):
			return fmt.Errorf("%v: the signature does not verify with the key that the plugin named", k.role)
		}
	}
	return nil
}
