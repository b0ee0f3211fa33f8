package signer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A FetchFunc gets the JWK set that a peer serves at DirectoryPath, over a connection on which TLS has
// authenticated that peer. It is bounded by ctx. HTTPFetch makes one.
type FetchFunc func(ctx context.Context, peer string) ([]byte, error)

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
	// MinInterval is the mean time between fetches from one peer at most, five of which may follow each
	// other at once; default 5 s.
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
// DirectoryPath. It asks a peer only about that peer's own keys, within MinInterval however many
// messages name keys that it does not have, and never two times at once. It implements KeySource, is safe
// for concurrent use, and must be closed.
type KeyDirectory struct {
	config DirectoryConfig
	ctx    context.Context // of fetches, until Close
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu        sync.RWMutex
	closed    bool
	peers     map[string]*directoryPeer
	flights   map[string]*flight
	contested map[string][]string // by key id: the peers that claim it, where they are several
}

var _ KeySource = (*KeyDirectory)(nil)

// NewKeyDirectory makes a KeyDirectory. It does no I/O. A configuration that cannot work (a peer without a
// name, or twice; a key that is not Ed25519; one key for two peers) matches ErrConfig, with every problem
// at once.
func NewKeyDirectory(c DirectoryConfig) (*KeyDirectory, error) {
	var problems []error
	for _, f := range []struct {
		field    string
		value    *time.Duration
		standard time.Duration
	}{
		{"FetchTimeout", &c.FetchTimeout, 2 * time.Second},
		{"MinValidity", &c.MinValidity, time.Minute},
		{"MaxValidity", &c.MaxValidity, time.Hour},
		{"MaxStale", &c.MaxStale, time.Hour},
		{"MinInterval", &c.MinInterval, 5 * time.Second},
		{"NegativeTTL", &c.NegativeTTL, 30 * time.Second},
	} {
		if *f.value < 0 || *f.value > maxDuration {
			problems = append(problems, &fault.ConfigError{Field: f.field, Err: fmt.Errorf("%v; want 0 for the default, or up to %v", *f.value, maxDuration)})
		}
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	if c.MaxValidity < c.MinValidity {
		problems = append(problems, &fault.ConfigError{Field: "MaxValidity", Err: fmt.Errorf("%v is less than MinValidity, %v", c.MaxValidity, c.MinValidity)})
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	d := &KeyDirectory{config: c, flights: make(map[string]*flight)}
	d.config.Peers = nil
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.SetPeers(c.Peers); err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		d.cancel()
		return nil, fmt.Errorf("signer: key directory: %w", errors.Join(problems...))
	}
	return d, nil
}

// SetPeers replaces the peers. What was fetched from those that stay is kept. It fails as NewKeyDirectory
// does, and changes nothing then.
func (d *KeyDirectory) SetPeers(peers []DirectoryPeer) error {
	var problems []error
	problem := func(i int, field, text string, args ...any) {
		problems = append(problems, &fault.ConfigError{Field: fmt.Sprintf("Peers[%d].%s", i, field), Err: fmt.Errorf(text, args...)})
	}
	next := make(map[string]*directoryPeer, len(peers))
	owner := make(map[string]string)
	for i, p := range peers {
		if p.Name == "" {
			problem(i, "Name", "none")
		} else if next[p.Name] != nil {
			problem(i, "Name", "%q is there twice", p.Name)
		}
		s := &directoryPeer{static: p.Static, configured: make(map[string]ed25519.PublicKey)}
		for n, k := range p.Keys {
			pub, err := PublicKeyOf(k)
			if err != nil {
				problem(i, fmt.Sprintf("Keys[%d]", n), "%w", err)
				continue
			}
			id := Thumbprint(pub)
			if o, ok := owner[id]; ok && o != p.Name {
				problem(i, fmt.Sprintf("Keys[%d]", n), "key %s is that of %q too", id, o)
			}
			owner[id] = p.Name
			s.configured[id] = slices.Clone(pub)
		}
		next[p.Name] = s
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	d.mu.Lock()
	for name, s := range next {
		if old := d.peers[name]; old != nil {
			s.fetched, s.allowed, s.missing = old.fetched, old.allowed, old.missing
		}
	}
	d.peers = next
	events := d.claim()
	d.mu.Unlock()
	d.tell(events...)
	return nil
}

// Close ends fetches that are under way and waits for them. Lookups after it know configured keys and what
// is cached.
func (d *KeyDirectory) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.wait.Wait()
	return nil
}

func (d *KeyDirectory) tell(events ...DirectoryEvent) {
	if d.config.OnEvent == nil {
		return
	}
	for _, e := range events {
		d.config.OnEvent(e)
	}
}
