package sdk

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/rotate"
	"github.com/alphaonedev/federation/signer"
)

// retireAfter is how long a key that no longer signs stays published: longer than any message signed with it
// is valid and any directory is cached.
const retireAfter = time.Hour

// maxKeys bounds the keys that a provider may want published; how many are is signer.MaxDirectoryKeys, the active one
// and those that are retired among them.
const maxKeys = 1000

// maxKeySet is how long the key set of a provider may be, in bytes. It leaves room for retired keys.
const maxKeySet = signer.MaxDirectorySize - signer.MaxDirectoryKeys*512

// A keyring is a KeySet as it is in service: checked, and comparable.
type keyring struct {
	active    signer.Key
	public    ed25519.PublicKey
	published []ed25519.PublicKey // without the active one
	chains    [][]*x509.Certificate
	life      rotate.Life
}

// selfTestDomain separates the signature that proves that a key works from every other.
const selfTestDomain = "federation-key-self-test"

// pullKeys asks the provider and lets a new key prove itself with one signature, so that a key that cannot sign
// is found here and not by every peer.
func pullKeys(ctx context.Context, p KeyProvider, current func() *keyring) (*keyring, error) {
	set, err := p.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	ring, err := newKeyring(set, time.Now())
	if err != nil {
		return nil, err
	}
	if old := current(); old != nil && old.public.Equal(ring.public) {
		return ring, nil
	}
	probe := make([]byte, 16)
	rand.Read(probe)
	sig, err := signer.SignStatement(ctx, ring.active, selfTestDomain, probe)
	if err != nil {
		return nil, fmt.Errorf("the signing key %s does not sign: %w", signer.Thumbprint(ring.public), err)
	}
	if err := signer.VerifyStatement(ring.public, selfTestDomain, probe, sig); err != nil {
		return nil, fmt.Errorf("the signing key %s makes wrong signatures: %w: %w", signer.Thumbprint(ring.public), err, ErrMaterial)
	}
	return ring, nil
}

func newKeyring(set *KeySet, now time.Time) (*keyring, error) {
	switch {
	case set == nil || set.Active == nil:
		return nil, fmt.Errorf("the provider returned no active key and no error: %w", ErrMaterial)
	case len(set.Published) > maxKeys:
		return nil, fmt.Errorf("the provider publishes %d keys, more than %d: %w", len(set.Published), maxKeys, ErrMaterial)
	case set.RefreshAfter < 0:
		return nil, fmt.Errorf("the signing keys are to be refreshed after %v: %w", set.RefreshAfter, ErrMaterial)
	}
	pub, err := ed25519Key(set.Active.Public())
	if err != nil {
		return nil, fmt.Errorf("the active signing key %w", err)
	}
	ring := &keyring{active: set.Active, public: pub}
	for i, k := range set.Published {
		pub, err := ed25519Key(k)
		if err != nil {
			return nil, fmt.Errorf("published key %d %w", i, err)
		}
		if len(ring.published) == signer.MaxDirectoryKeys-1 {
			break
		}
		if !pub.Equal(ring.public) && !slices.ContainsFunc(ring.published, func(p ed25519.PublicKey) bool { return p.Equal(pub) }) {
			ring.published = append(ring.published, pub)
		}
	}
	for i, chain := range set.Chains {
		if len(chain) == 0 || slices.Contains(chain, nil) {
			return nil, fmt.Errorf("chain %d of the signing keys is empty or holds no parsed certificate: %w", i, ErrMaterial)
		}
	}
	ring.chains = set.Chains
	switch data, err := signer.EncodeJWKS(ring.view(new(retirement), now)); {
	case err != nil:
		return nil, fmt.Errorf("the signing keys cannot be published: %w: %w", err, ErrMaterial)
	case len(data) > maxKeySet:
		return nil, fmt.Errorf("the signing keys with their chains cannot be published: they take %d bytes, more than %d: %w", len(data), maxKeySet, ErrMaterial)
	}
	ring.life.Refresh = now.Add(cmpOr(set.RefreshAfter, defaultRefresh))
	return ring, nil
}

// view is the key set that this node serves.
func (r *keyring) view(retired *retirement, now time.Time) signer.KeySetView {
	view := signer.KeySetView{Validity: keyValidity}
	for _, k := range retired.published(r, now) {
		view.Keys = append(view.Keys, signer.PublishedKey{Key: k, Chain: r.chain(k)})
	}
	return view
}

// chain returns the certificates of a key, or nil.
func (r *keyring) chain(k ed25519.PublicKey) []*x509.Certificate {
	if r == nil {
		return nil
	}
	for _, chain := range r.chains {
		if pub, ok := chain[0].PublicKey.(ed25519.PublicKey); ok && pub.Equal(k) {
			return chain
		}
	}
	return nil
}

func ed25519Key(k crypto.PublicKey) (ed25519.PublicKey, error) {
	pub, ok := k.(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("is %T, want Ed25519: %w", k, ErrMaterial)
	}
	return pub, nil
}

func sameKeys(a, b *keyring) bool {
	return a.public.Equal(b.public) &&
		slices.EqualFunc(a.published, b.published, func(x, y ed25519.PublicKey) bool { return x.Equal(y) }) &&
		slices.EqualFunc(a.chains, b.chains, func(x, y []*x509.Certificate) bool { return slices.EqualFunc(x, y, (*x509.Certificate).Equal) })
}

// A retirement remembers keys that were in service, so that they stay published for as long as a message that
// they signed can be in flight.
type retirement struct {
	mu   sync.Mutex
	keys []retiredKey
}

type retiredKey struct {
	public ed25519.PublicKey
	until  time.Time
}

func (r *retirement) add(pub ed25519.PublicKey, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = slices.DeleteFunc(r.keys, func(k retiredKey) bool { return k.public.Equal(pub) || !now.Before(k.until) })
	r.keys = append(r.keys, retiredKey{pub, now.Add(retireAfter)})
}

// published returns the keys that peers must accept: the active one, those of its provider, and the others from the
// one that was retired last, as many as a key set can hold.
func (r *retirement) published(ring *keyring, now time.Time) []ed25519.PublicKey {
	if ring == nil {
		return nil
	}
	out := append([]ed25519.PublicKey{ring.public}, ring.published...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range slices.Backward(r.keys) {
		if len(out) == signer.MaxDirectoryKeys {
			break
		}
		if now.Before(k.until) && !slices.ContainsFunc(out, func(p ed25519.PublicKey) bool { return p.Equal(k.public) }) {
			out = append(out, k.public)
		}
	}
	return out
}
