package signer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A FetchFunc gets the JWK set that a peer serves at DirectoryPath, over a connection on which TLS has
// authenticated that peer. It is bounded by ctx. HTTPFetch makes one.
type FetchFunc func(ctx context.Context, peer string) ([]byte, error)

// HTTPFetch makes a FetchFunc of a RoundTripper that authenticates peers, such as a transport.Transport.
// base gives the base URL of a peer, or "". It follows no redirect and reads at most MaxDirectorySize bytes.
func HTTPFetch(rt http.RoundTripper, base func(peer string) string) FetchFunc {
	return func(ctx context.Context, peer string) ([]byte, error) {
		return nil, fmt.Errorf("signer: %w", fault.ErrUnsupported)
	}
}

// MaxDirectorySize is the greatest length of a JWK set, in bytes.
const MaxDirectorySize = 64 << 10

// A DirectoryPeer is a peer whose keys a KeyDirectory knows or finds.
type DirectoryPeer struct {
	Name string             // as in From.Peer
	Keys []crypto.PublicKey // configured ones: valid until the next SetPeers, whatever the peer publishes
	// Static: never fetch; Keys are all there are.
	Static bool
}

// DirectoryConfig is what a KeyDirectory is made of.
type DirectoryConfig struct {
	Peers []DirectoryPeer
	// Fetch gets a peer's JWK set; nil: only configured keys are known.
	Fetch FetchFunc
	// FetchTimeout bounds one fetch; default 2 s.
	FetchTimeout time.Duration
	// MinValidity and MaxValidity clamp for how long a fetched set is relied upon; default 1 min and 1 h.
	// A set that names no validity gets 5 min.
	MinValidity, MaxValidity time.Duration
	// MaxStale is how long a set is used past its validity while the peer cannot be asked; default 1 h.
	MaxStale time.Duration
	// MinInterval is the least time between two fetches from one peer; default 5 s.
	MinInterval time.Duration
	// NegativeTTL is how long a key id that a peer turned out not to have is not asked for again; default
	// 30 s.
	NegativeTTL time.Duration
	// CheckChain judges a key that comes with a certificate chain (x5c), leaf first; an error drops the
	// key. nil: chains are ignored.
	CheckChain func(peer string, key ed25519.PublicKey, chain []*x509.Certificate) error
	// OnEvent is told what happened, from the goroutine in which it did; it must not call the directory.
	OnEvent func(DirectoryEvent)
	// Clock is the time to judge by; default time.Now.
	Clock func() time.Time
}

// A DirectoryEventKind says what happened in a KeyDirectory.
type DirectoryEventKind string

// The kinds of events.
const (
	DirectoryFetched  DirectoryEventKind = "fetched"  // a set was fetched; KeyIDs are what it holds
	DirectoryFailed   DirectoryEventKind = "failed"   // a fetch failed; Err says why
	DirectoryConflict DirectoryEventKind = "conflict" // KeyIDs are claimed by Peer and Others: refused for those who only published them
	DirectoryRejected DirectoryEventKind = "rejected" // CheckChain dropped KeyIDs; Err says why
)

// A DirectoryEvent is what OnEvent is told.
type DirectoryEvent struct {
	Kind   DirectoryEventKind
	Peer   string
	Others []string
	KeyIDs []string
	Err    error
}

// A KeyDirectory knows the keys of peers, from the configuration and from what each serves at
// DirectoryPath. It asks a peer only about that peer's own keys, at most once per MinInterval however many
// messages name keys that it does not have, and never two times at once. It implements KeySource, is safe
// for concurrent use, and must be closed.
type KeyDirectory struct {
	config DirectoryConfig
}

// NewKeyDirectory makes a KeyDirectory. It does no I/O. A configuration that cannot work (a peer without a
// name, or twice; a key that is not Ed25519; one key for two peers) matches ErrConfig.
func NewKeyDirectory(c DirectoryConfig) (*KeyDirectory, error) {
	return nil, fmt.Errorf("signer: %w", fault.ErrUnsupported)
}

// SetPeers replaces the peers. What was fetched from those that stay is kept. It fails as NewKeyDirectory
// does, and changes nothing then.
func (d *KeyDirectory) SetPeers(peers []DirectoryPeer) error {
	return fmt.Errorf("signer: %w", fault.ErrUnsupported)
}

// Key implements KeySource.
func (d *KeyDirectory) Key(ctx context.Context, peer, keyID string) (ed25519.PublicKey, error) {
	return nil, fmt.Errorf("signer: %w", fault.ErrUnsupported)
}

// Keys implements KeySource.
func (d *KeyDirectory) Keys(ctx context.Context, peer string) ([]ed25519.PublicKey, error) {
	return nil, fmt.Errorf("signer: %w", fault.ErrUnsupported)
}

// Refresh fetches a peer's keys now, whatever is cached, and reports how that went. It joins a fetch that is
// under way and does not count against MinInterval.
func (d *KeyDirectory) Refresh(ctx context.Context, peer string) error {
	return fmt.Errorf("signer: %w", fault.ErrUnsupported)
}

// Close ends fetches that are under way and waits for them. Lookups after it know configured keys and what
// is cached.
func (d *KeyDirectory) Close() error { return nil }
