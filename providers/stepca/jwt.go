package stepca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// tokenLife is how long a token that we mint is valid. The CA tolerates a minute of skew on either side.
const tokenLife = 5 * time.Minute

// audience is a claim that may be one string or several (RFC 7519 §4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// claims are those of a token for a step-ca that somebody else can check.
type claims struct {
	Issuer   string        `json:"iss"`
	Subject  string        `json:"sub"`
	Audience audience      `json:"aud"`
	IssuedAt int64         `json:"iat"`
	NotBef   int64         `json:"nbf"`
	Expires  int64         `json:"exp"`
	ID       string        `json:"jti"`
	SANs     []string      `json:"sans,omitempty"`
	SHA      string        `json:"sha,omitempty"`
	Confirm  *confirmation `json:"cnf,omitempty"`
}

// confirmation binds a token to one certificate request.
type confirmation struct {
	CSR string `json:"x5rt#S256"`
}

type joseHeader struct {
	Alg string   `json:"alg"`
	Typ string   `json:"typ,omitempty"`
	Kid string   `json:"kid,omitempty"`
	X5C []string `json:"x5c,omitempty"`
	// X5CInsecure is step-ca's own: a chain that need not be valid any more, for renewal after expiry.
	X5CInsecure []string `json:"x5cInsecure,omitempty"`
}

// newClaims are the claims that every token has. The time is the CA's, as far as it is known: a token is worth nothing by
// any other clock.
func (c *Client) newClaims(issuer, subject, aud string) (claims, error) {
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return claims{}, err
	}
	now := c.caNow()
	return claims{
		Issuer: issuer, Subject: subject, Audience: audience{aud},
		IssuedAt: now.Unix(), NotBef: now.Unix(), Expires: now.Add(tokenLife).Unix(),
		ID: base64.RawURLEncoding.EncodeToString(id),
	}, nil
}

// sign makes a compact JWS (RFC 7515 §7.1) with any crypto.Signer.
func sign(ctx context.Context, key crypto.Signer, h joseHeader, payload any) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	var hash crypto.Hash
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			h.Alg, hash = "ES256", crypto.SHA256
		case elliptic.P384():
			h.Alg, hash = "ES384", crypto.SHA384
		case elliptic.P521():
			h.Alg, hash = "ES512", crypto.SHA512
		default:
			return "", fmt.Errorf("%w: a token cannot be signed on the curve %s", fault.ErrConfig, pub.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		h.Alg, hash = "RS256", crypto.SHA256
	case ed25519.PublicKey:
		h.Alg = "EdDSA"
	default:
		return "", fmt.Errorf("%w: a token cannot be signed with a key of type %T", fault.ErrConfig, pub)
	}
	h.Typ = "JWT"
	head, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString(head) + "." + enc.EncodeToString(body)
	digest := []byte(input)
	if hash != 0 {
		hh := hash.New()
		hh.Write(digest)
		digest = hh.Sum(nil)
	}
	sig, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); ok {
		if sig, err = rawECDSA(sig, (pub.Curve.Params().BitSize+7)/8); err != nil {
			return "", err
		}
	}
	return input + "." + enc.EncodeToString(sig), nil
}

// rawECDSA turns an ASN.1 signature into the fixed form of JWS (RFC 7518 §3.4).
func rawECDSA(der []byte, size int) ([]byte, error) {
	var v struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) > 0 || v.R.Sign() <= 0 || v.S.Sign() <= 0 ||
		v.R.BitLen() > 8*size || v.S.BitLen() > 8*size {
		return nil, errors.New("the key gave a signature that does not parse")
	}
	out := make([]byte, 2*size)
	v.R.FillBytes(out[:size])
	v.S.FillBytes(out[size:])
	return out, nil
}

// readClaims reads a token without verifying it: the CA does that. A token is a secret; the error holds none of it.
func readClaims(token string) (claims, error) {
	var cl claims
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return cl, fmt.Errorf("is not a JWT: it has %d parts, want 3", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &cl) != nil {
		return cl, errors.New("is not a JWT: its claims do not parse")
	}
	return cl, nil
}
