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
	digest := sha256.Sum256(signed)
	request := &pluginpb.IdentitySignRequest{Fingerprint: r.Fingerprint, Hash: pluginpb.Hash_HASH_SHA256, Input: digest[:]}
	k := rawKey{role: pluginpb.Role_ROLE_IDENTITY, print: r.Fingerprint}
	switch public := leaf.PublicKey.(type) {
	case ed25519.PublicKey:
		request.Algorithm, request.Hash, request.Input = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ED25519, pluginpb.Hash_HASH_NONE, signed
		k.verify = func(signature []byte) bool { return ed25519.Verify(public, signed, signature) }
	case *ecdsa.PublicKey:
		request.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ECDSA
		switch public.Curve.Params().BitSize { // the hash that TLS 1.3 has with the curve
		case 384:
			request.Hash, request.Input = pluginpb.Hash_HASH_SHA384, sum(crypto.SHA384)
		case 521:
			request.Hash, request.Input = pluginpb.Hash_HASH_SHA512, sum(crypto.SHA512)
		}
		k.verify = func(signature []byte) bool { return ecdsa.VerifyASN1(public, request.Input, signature) }
	case *rsa.PublicKey:
		request.Algorithm = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PKCS1V15
		k.verify = func(signature []byte) bool {
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
		}
		if slices.Contains(r.SignatureSchemes, uint32(tls.PSSWithSHA256)) {
			request.Algorithm, request.SaltLength = pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PSS, sha256.Size
			k.verify = func(signature []byte) bool {
				return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: sha256.Size}) == nil
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
