package signer

import (
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

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

// EncodeJWKS writes a key set as a JWK set (RFC 7517, RFC 8037).
func EncodeJWKS(v KeySetView) ([]byte, error) {
	return nil, fmt.Errorf("signer: %w", fault.ErrUnsupported)
}

// ParseJWKS reads a JWK set. Keys of other kinds are skipped (RFC 7517 section 5). A set that is not
// well-formed, is over a limit, names a key by anything but its thumbprint, or holds a private key matches
// ErrMaterial.
func ParseJWKS(data []byte) (KeySetView, error) {
	return KeySetView{}, fmt.Errorf("signer: %w", fault.ErrUnsupported)
}

// DirectoryHandler serves the current keys at DirectoryPath, to whoever may reach it. current must be safe
// for concurrent use.
func DirectoryHandler(current func() KeySetView) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "unsupported", http.StatusNotImplemented)
	})
}
