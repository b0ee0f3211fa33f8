package vault

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// KeyOptions say which Transit key signs. Name is required.
type KeyOptions struct {
	Mount     string // the Transit mount; default "transit"
	Name      string // the key, of type ed25519
	Namespace string // of the mount; "": the client's; "root": the root namespace

	// Announce is how long a new version is published before it signs, so that peers know it first.
	// Default 1 minute; negative: not at all. A version that Vault no longer lets sign is left at once.
	Announce time.Duration
	// Overlap is how long a version stays published after its successor began to sign, even if Vault
	// lists it no more. Default 1 hour. A restart forgets versions that Vault no longer lists.
	Overlap time.Duration
	// RefreshAfter is how often Vault is asked for new versions, of which it cannot tell by itself.
	// Default 5 minutes.
	RefreshAfter time.Duration

	// Patience is how long Sign goes on trying, within its context, while Vault is unavailable or the key or its
	// mount is gone, so that a restart, a change of leader or a key made anew fails no message. Default 5 s;
	// negative: one attempt.
	Patience time.Duration
	// Concurrent is how many signing requests are under way at once; default 4. Messages that wait for
	// one of them to return go together in the next, up to MaxBatch (default 128).
	Concurrent int
	MaxBatch   int

	// Export fetches the private key, which must be exportable, and signs here: no round trip for each
	// message, and no use of a Vault outage by anyone who wants messages to stop. It gives up what Transit
	// is for: the key is in this process's memory, a stolen copy signs for ever, Vault's audit log no
	// longer shows signatures, and a revoked token or policy no longer stops them. The policy must allow
	// "read" on export/signing-key/<name>/*.
	Export bool
}

// Key is an Ed25519 key in Transit. A signing key is pinned to one version, so that rotation is seen and
// announced and never happens in the middle of a message; every signature is verified with the public key
// before it is used.
type Key struct {
	client *Client
	opts   KeyOptions
	turn   chan struct{} // capacity 1; held during a pull
	state  keyState
}

var (
	_ sdk.KeyProvider = (*Key)(nil)
	_ sdk.Validator   = (*Key)(nil)
	_ sdk.Watcher     = (*Key)(nil)
)

// Key makes a key provider. Nothing is contacted before the first pull.
func (c *Client) Key(o KeyOptions) *Key {
	o.Mount = mountOr(o.Mount, "transit")
	if o.Announce == 0 {
		o.Announce = time.Minute
	}
	if o.Overlap <= 0 {
		o.Overlap = time.Hour
	}
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	if o.Concurrent <= 0 {
		o.Concurrent = 4
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = 128
	}
	return &Key{client: c, opts: o, turn: make(chan struct{}, 1), state: keyState{changed: make(chan struct{})}}
}

// Validate checks the configuration, the client's included, without contacting Vault.
func (k *Key) Validate() error {
	err := errors.Join(
		k.client.cfg.validate(),
		fieldError("Mount", checkName(k.opts.Mount, true)),
		fieldError("Name", checkName(k.opts.Name, false)),
	)
	if err != nil {
		return prefix(err)
	}
	return nil
}

// SigningKeys returns the version that signs and the public keys of the others that count.
func (k *Key) SigningKeys(ctx context.Context) (*sdk.KeySet, error) {
	set, err := k.pull(ctx)
	if err != nil {
		return nil, roleError(fault.RoleKey, "pull", err)
	}
	return set, nil
}

// Watch looks at Vault every RefreshAfter and calls changed when the key has other versions than at the last
// pull, when it cannot be read, and at once when Vault refuses to sign with the version in use. While it
// runs, pulls are due every hour only, and the requests at rest are the same.
func (k *Key) Watch(ctx context.Context, changed func()) error {
	s := &k.state
	s.mu.Lock()
	s.watchers++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watchers--
	}()
	refused := k.refusals()
	every := k.every()
	wait := rand.N(every) + 1 // the nodes of a fleet that started together do not look together
	for ; ; wait = every - rand.N(every/10+1) {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-refused:
			timer.Stop()
			refused = k.refusals()
			changed()
		case <-timer.C:
			if k.differs(ctx) && ctx.Err() == nil {
				changed()
			}
		}
	}
}

// refusals returns the channel that the next refusal closes.
func (k *Key) refusals() chan struct{} {
	k.state.mu.Lock()
	defer k.state.mu.Unlock()
	return k.state.changed
}

// differs reports whether a pull would bring something new, an error included.
func (k *Key) differs(ctx context.Context) bool {
	found, err := k.describe(ctx)
	if err != nil {
		return true
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return false
	}
	return !reflect.DeepEqual(found, k.state.last)
}
