package sdk

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/alphaonedev/federation/signer"
)

// A TrustProvider says which certificate authorities are trusted now.
//
// Every call returns the whole current bundle, never a change to an earlier one. An implementation is safe
// for concurrent use, honours ctx, returns errors that wrap one of the sentinels of this package (an error
// that wraps none means ErrUnavailable), and puts no secret into them.
type TrustProvider interface {
	TrustBundle(ctx context.Context) (*TrustBundle, error)
}

// A TrustBundle is the trusted roots and what they have revoked. It is not changed once returned. A list that is in
// service and missing from the next bundle, or older there, stays in force until Confirm, a newer one that the same CA
// signed, or the removal of its CA: a list that is lost, forged, or not enforced (delta, indirect, with a critical
// extension that is not known) revokes nothing less. The list of an intermediate that is no root stays at most until its
// NextUpdate, if it has one; until then also beside a newer one, as long as neither this node nor a peer has shown the
// intermediate's certificate, by which alone the newer one can be checked.
type TrustBundle struct {
	Roots        []*x509.Certificate    // at least one
	CRLs         []*x509.RevocationList // RFC 5280; each signed by a root or an intermediate of it
	RefreshAfter time.Duration          // when to ask again, the first time at random before; 0: 5 minutes
	// Partial says why part of the bundle could not be asked for and is what was known before, or is missing; nil if
	// all is fresh. The bundle serves like any other; Status, Check and an event tell.
	Partial error
}

// An IdentityProvider says with which certificate and key this node proves who it is in TLS, enrolling or
// renewing if it must; a call that need not enrol does not. The rules of TrustProvider hold here too. A new certificate
// for which only a bundle that is held vouches (Status.Held) waits with it, while the one before is good.
type IdentityProvider interface {
	Identity(ctx context.Context) (*Identity, error)
}

// An Identity is a certificate chain with its key. It is not changed once returned. The same certificate with a
// newer handle of its key, such as another session with an HSM, or with a newer OCSPStaple replaces what was there
// without a new generation.
type Identity struct {
	// Certificate is leaf first; its PrivateKey may be any crypto.Signer. One that will never sign again, because
	// its source has replaced it, says so with ErrExpired: sdk then pulls at once.
	Certificate  *tls.Certificate
	RefreshAfter time.Duration // when to ask again; 0: two thirds of the leaf's life
}

// A KeyProvider says with which Ed25519 key this node signs messages. The rules of TrustProvider hold here
// too.
type KeyProvider interface {
	SigningKeys(ctx context.Context) (*KeySet, error)
}

// A KeySet is the key that signs from now on and the public keys that peers must still, or already, accept.
// It is not changed once returned.
type KeySet struct {
	Active signer.Key // one immutable version
	// Published are ed25519.PublicKey each; Active's own need not be among them. Peers are told the first 15, and then
	// of keys that were Active before, so those that matter come first: the next one, and the last ones that signed.
	Published []crypto.PublicKey
	// Chains are certificates by which a CA vouches for keys of the set, leaf first, in any order: a chain is
	// for the key that its leaf holds. Optional; they are published with the keys (x5c, RFC 7517 section 4.7).
	Chains       [][]*x509.Certificate
	RefreshAfter time.Duration // when to ask again, the first time at random before; 0: 5 minutes
}

// A Watcher is a provider that learns of changes by itself. Watch calls changed whenever the material may
// have changed, until ctx ends. It is level-triggered: sdk pulls again and compares, so that one call too
// many costs a pull and nothing else. Returning ErrUnsupported, or returning before ctx ends, means: poll me.
type Watcher interface {
	Watch(ctx context.Context, changed func()) error
}

// A Validator is a provider whose configuration can be checked without contacting a backend or enrolling.
// Build and Check call it. Its error wraps ErrConfig and names the field and the cure.
type Validator interface{ Validate() error }
