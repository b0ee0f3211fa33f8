package signer

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/exactjson"
	"github.com/alphaonedev/federation/internal/fault"
)

// DirectoryPath is where a node serves its public keys.
const DirectoryPath = "/.well-known/federation/keys"

// A PublishedKey is one entry of a key set.
type PublishedKey struct {
	Key       ed25519.PublicKey
	NotBefore time.Time           // zero: no limit; whole seconds
	NotAfter  time.Time           // zero: no limit; whole seconds
	Chain     []*x509.Certificate // leaf first, its public key is Key; optional
}

// KeySetView is a node's public keys at one moment.
type KeySetView struct {
	Keys []PublishedKey
	// Validity is how long others may rely on the set without asking again, in whole seconds; 0: they choose.
	Validity time.Duration
}

// Limits of a JWK set.
const (
	// MaxDirectorySize is the greatest length of a JWK set, in bytes.
	MaxDirectorySize = 64 << 10
	// MaxDirectoryKeys is how many keys one may hold.
	MaxDirectoryKeys = 16
	maxChain         = 8
)

type jwkSet struct {
	Keys     []json.RawMessage `json:"keys"`
	Validity *int64            `json:"valid_seconds,omitempty"`
}

type jwk struct {
	KeyType   string          `json:"kty"`
	Curve     string          `json:"crv,omitempty"`
	X         string          `json:"x,omitempty"`
	KeyID     string          `json:"kid,omitempty"`
	Algorithm string          `json:"alg,omitempty"`
	Use       string          `json:"use,omitempty"`
	NotBefore *int64          `json:"nbf,omitempty"`
	NotAfter  *int64          `json:"exp,omitempty"`
	Chain     []string        `json:"x5c,omitempty"`
	Private   json.RawMessage `json:"d,omitempty"` // whatever it is, null as well
}

// EncodeJWKS writes a key set as a JWK set (RFC 7517, RFC 8037), each key under its thumbprint. A set that
// ParseJWKS would not take matches ErrConfig.
func EncodeJWKS(v KeySetView) ([]byte, error) {
	set := jwkSet{Keys: []json.RawMessage{}}
	if v.Validity > 0 {
		n := int64(v.Validity / time.Second)
		set.Validity = &n
	}
	for i, k := range v.Keys {
		if _, err := PublicKeyOf(k.Key); err != nil {
			return nil, fmt.Errorf("signer: key set: key %d: %w: %w", i, err, fault.ErrConfig)
		}
		j := jwk{
			KeyType: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(k.Key), KeyID: Thumbprint(k.Key),
			Algorithm: "EdDSA", Use: "sig", NotBefore: unixOrNil(k.NotBefore), NotAfter: unixOrNil(k.NotAfter),
		}
		for _, c := range k.Chain {
			j.Chain = append(j.Chain, base64.StdEncoding.EncodeToString(c.Raw))
		}
		raw, err := json.Marshal(j)
		if err != nil {
			return nil, fmt.Errorf("signer: key set: %w", err)
		}
		set.Keys = append(set.Keys, raw)
	}
	data, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("signer: key set: %w", err)
	}
	if _, err := ParseJWKS(data); err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.ErrConfig)
	}
	return data, nil
}

// ParseJWKS reads a JWK set of at most MaxDirectorySize bytes and MaxDirectoryKeys keys. Keys of other kinds or for other
// uses are skipped (RFC 7517 section 5). A set that is not well-formed, is over a limit, has a key or a member twice,
// names one by anything but its thumbprint, or holds a private key matches ErrMaterial. Nothing is said
// about whether the keys are valid now, nor about their chains beyond that the leaf has the key.
func ParseJWKS(data []byte) (KeySetView, error) {
	v, err := parseJWKS(data)
	if err != nil {
		return KeySetView{}, fmt.Errorf("signer: key set: %w: %w", err, fault.ErrMaterial)
	}
	return v, nil
}

func parseJWKS(data []byte) (v KeySetView, err error) {
	if len(data) > MaxDirectorySize {
		return v, fmt.Errorf("larger than %d bytes", MaxDirectorySize)
	}
	var set jwkSet
	if err := json.Unmarshal(data, &set); err != nil {
		return v, errors.New("not a JWK set")
	}
	if err := exactjson.Check(data, "keys", "valid_seconds"); err != nil {
		return v, err
	}
	if set.Keys == nil {
		return v, errors.New("no member keys")
	}
	if len(set.Keys) > MaxDirectoryKeys {
		return v, fmt.Errorf("%d keys, at most %d are taken", len(set.Keys), MaxDirectoryKeys)
	}
	if s := set.Validity; s != nil {
		if *s < 0 || *s > int64(maxDuration/time.Second) {
			return v, fmt.Errorf("valid_seconds is %d", *s)
		}
		v.Validity = time.Duration(*s) * time.Second
	}
	seen := make(map[string]bool)
	for i, raw := range set.Keys {
		k, ok, err := parseJWK(raw)
		if err != nil {
			return v, fmt.Errorf("key %d: %w", i, err)
		}
		if !ok {
			continue
		}
		if seen[string(k.Key)] {
			return v, fmt.Errorf("key %d is there twice", i)
		}
		seen[string(k.Key)] = true
		v.Keys = append(v.Keys, k)
	}
	return v, nil
}

// parseJWK reports false for a key that is well-formed and not for us.
func parseJWK(raw json.RawMessage) (k PublishedKey, ok bool, err error) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return k, false, errors.New("not a JWK")
	}
	if err := exactjson.Check(raw, "kty", "crv", "x", "kid", "alg", "use", "nbf", "exp", "x5c", "d"); err != nil {
		return k, false, err
	}
	if j.Private != nil {
		return k, false, errors.New("it is a private key: it must be replaced, and never published")
	}
	if j.KeyType != "OKP" || j.Curve != "Ed25519" || j.Use != "" && j.Use != "sig" {
		return k, false, nil
	}
	if j.Algorithm != "" && j.Algorithm != "EdDSA" && j.Algorithm != "Ed25519" {
		return k, false, fmt.Errorf("alg is %.20q", j.Algorithm)
	}
	pub, err := strictURL.DecodeString(j.X)
	if err != nil || len(pub) != ed25519.PublicKeySize || strings.ContainsAny(j.X, "\r\n") {
		return k, false, errors.New("x is not 32 bytes in base64url")
	}
	if k.Key, err = PublicKeyOf(ed25519.PublicKey(pub)); err != nil {
		return k, false, err
	}
	if id := Thumbprint(k.Key); j.KeyID != "" && j.KeyID != id {
		return k, false, fmt.Errorf("kid is %.50q, want the thumbprint %s", j.KeyID, id)
	}
	if k.NotBefore, err = timeOf(j.NotBefore); err != nil {
		return k, false, fmt.Errorf("nbf: %w", err)
	}
	if k.NotAfter, err = timeOf(j.NotAfter); err != nil {
		return k, false, fmt.Errorf("exp: %w", err)
	}
	if !k.NotAfter.IsZero() && !k.NotAfter.After(k.NotBefore) {
		return k, false, errors.New("exp is not after nbf")
	}
	k.Chain, err = parseChain(j.Chain, k.Key)
	return k, err == nil, err
}

func parseChain(x5c []string, key ed25519.PublicKey) ([]*x509.Certificate, error) {
	if len(x5c) > maxChain {
		return nil, fmt.Errorf("x5c has %d certificates, at most %d are taken", len(x5c), maxChain)
	}
	var chain []*x509.Certificate
	for i, s := range x5c {
		der, err := strictStd.DecodeString(s)
		if err != nil || strings.ContainsAny(s, "\r\n") {
			return nil, fmt.Errorf("x5c[%d] is not base64", i)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("x5c[%d] is not a certificate: %w", i, err)
		}
		chain = append(chain, c)
	}
	if len(chain) > 0 && !key.Equal(chain[0].PublicKey) {
		return nil, errors.New("x5c[0] is for another key")
	}
	return chain, nil
}

// maxUnix is the end of the year 9999.
const maxUnix = 253402300799

func timeOf(unix *int64) (time.Time, error) {
	switch {
	case unix == nil:
		return time.Time{}, nil
	case *unix < 0 || *unix > maxUnix:
		return time.Time{}, fmt.Errorf("%d is no time", *unix)
	}
	return time.Unix(*unix, 0), nil
}

func unixOrNil(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

// DirectoryHandler serves the current keys, to be mounted at DirectoryPath, to whoever may reach it. Key
// sets are public. current must be quick and safe for concurrent use; a set that cannot be encoded is
// answered 500.
func DirectoryHandler(current func() KeySetView) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		data, err := EncodeJWKS(current())
		if err != nil {
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data)
	})
}
