package sdk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/transport"
	"github.com/hashicorp/go-hclog"
)

// A Signing says what happens when messages cannot be signed.
type Signing int

const (
	// SignRequired, the default, makes a failing key an error: of Build, and of every request. Inbound
	// messages must be signed.
	SignRequired Signing = iota
	// SignPreferred sends unsigned when there is no key: quietly when none is enrolled (ErrNotFound), with a
	// loud warning when loading fails, since strict peers then refuse everything. Status shows both. An
	// inbound message may be unsigned unless its peer has Peer.Keys; a signature that is there must be good.
	SignPreferred
)

// A Builder says what a federation is made of. It is plain data: fill in a literal and call Build. Every zero
// field is a documented default, except Trust, Peers and Quorum.Writes.
//
// The Federation that Build returns closes none of what is given here: providers and outbox stay the
// caller's.
type Builder struct {
	// ID is what this node calls itself: the sender of its messages and acks, and an address that it accepts.
	// Default: the first URI, or else the first DNS name, of its certificate.
	ID string

	// Trust says which roots vouch for peers. Required; SystemRoots{} is what the operating system trusts.
	Trust TrustProvider
	// Identity says with which certificate this node connects and serves. nil: TLS authenticates the
	// servers only, and this node cannot serve.
	Identity IdentityProvider
	// Key says with which Ed25519 key messages are signed. nil: messages are not signed, and neither need
	// those that arrive be.
	Key KeyProvider

	// Peers are the other nodes. None means that federation is off: ErrDisabled.
	Peers []Peer
	// Quorum is how many nodes, this one included, must hold a write. Writes 0 means that federation is
	// off: ErrDisabled. quorum.Majority asks for N/2 + 1.
	Quorum quorum.Policy

	// Signing says what happens when Key fails. Default SignRequired.
	Signing Signing
	// APIKey returns the secret that goes to a peer as x-api-key, or "" for none. It is asked for every
	// attempt, so that a secret can rotate, and may be called concurrently. Its error fails the attempt.
	APIKey func(ctx context.Context, p Peer) (string, error)
	// Authorize decides what an authenticated peer may do: nil allows, an error refuses with 403 and is
	// logged, not sent. It may be called concurrently. Default: every peer may do everything.
	Authorize func(p Peer, r *http.Request) error

	// Outbox keeps what peers have not acked. Default: outbox.NewMemory, bounded, as long as the process;
	// outbox/bolt is durable. The caller closes it, after the Federation.
	Outbox outbox.Store
	// Push tunes how messages are delivered.
	Push PushOptions

	// Transport tunes the connections. Its Prepare, OnEvent and AllowPlaintext are the Federation's own and
	// must be zero.
	Transport transport.Options

	// HoldRemoval is how long a removal of roots that would leave fewer peers than the quorum needs waits, for
	// Confirm or for the peers to show certificates that the remaining roots vouch for, before it goes into
	// service all the same. Default 15 minutes.
	HoldRemoval time.Duration
	// StartTimeout bounds Build when its context has no deadline. Default 30 s.
	StartTimeout time.Duration

	// Logger takes the log. Default: silent. FromSlog makes one of a *slog.Logger.
	Logger hclog.Logger
	// OnEvent is told of everything that happens, in order, from one goroutine. It may call the Federation,
	// except Close and Shutdown, which wait for it. A callback so slow that 1,024 events wait loses the
	// further ones; Status counts them.
	OnEvent func(Event)

	// AllowPlaintext lets peers have http URLs. Nothing authenticates such a peer and nothing hides what is
	// said to it: for tests and for links that something else protects.
	AllowPlaintext bool
}

// ErrDisabled is what Build returns, together with a nil Federation, when the configuration says that there
// is no federation. The error's text says why, and how to turn it on. A program that treats federation as
// optional tests for it with errors.Is and goes on alone.
var ErrDisabled = quorum.ErrDisabled

const (
	defaultHoldRemoval  = 15 * time.Minute
	defaultStartTimeout = 30 * time.Second
)

// Build checks the configuration, asks every provider for its material and returns a running Federation,
// which the caller closes. It contacts no peer; Federation.Warm does.
//
// All problems of the configuration are returned together: errors.Join of *ConfigError, each of which names
// the field and the cure. Then Build blocks until every provider has answered. A provider that is unavailable
// is asked again until ctx ends; one that fails in any other way fails Build. ctx bounds Build and nothing
// after it.
func (b Builder) Build(ctx context.Context) (*Federation, error) {
	if _, err := b.Quorum.Resolve(len(b.Peers)); errors.Is(err, ErrDisabled) {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	policy := b.Quorum
	peers, err := b.validate()
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.StartTimeout)
		defer cancel()
	}
	return newFederation(ctx, b, policy, peers)
}

// validate fills in the defaults and returns the normalised peers, or every problem there is.
func (b *Builder) validate() ([]Peer, error) {
	var problems []error
	problem := func(field string, err error) {
		if err != nil {
			problems = append(problems, &ConfigError{Field: field, Err: err})
		}
	}

	if b.ID != "" {
		problem("ID", checkID(b.ID))
	}
	if b.Trust == nil {
		problem("Trust", errors.New("is nil, so nobody could be trusted; give a provider, such as &file.Trust{Path: …}, or say sdk.SystemRoots{} to mean the roots of the operating system"))
	} else {
		problem("Trust", validateProvider(b.Trust))
	}
	if b.Identity != nil {
		problem("Identity", validateProvider(b.Identity))
	}
	if b.Key != nil {
		problem("Key", validateProvider(b.Key))
	}
	peers, err := validatePeers(b.Peers, b.AllowPlaintext)
	if err != nil {
		problems = append(problems, err)
	}
	resolved, err := b.Quorum.Resolve(len(b.Peers))
	if err != nil {
		problems = append(problems, err)
	}
	b.Quorum = resolved
	if b.Signing != SignRequired && b.Signing != SignPreferred {
		problem("Signing", fmt.Errorf("is %d, which is none; use SignRequired or SignPreferred", b.Signing))
	}
	if b.HoldRemoval < 0 {
		problem("HoldRemoval", fmt.Errorf("is %v, less than nothing; leave it 0 for %v", b.HoldRemoval, defaultHoldRemoval))
	}
	if b.StartTimeout < 0 {
		problem("StartTimeout", fmt.Errorf("is %v, less than nothing; leave it 0 for %v", b.StartTimeout, defaultStartTimeout))
	}
	for _, number := range []struct {
		field string
		value int64
	}{
		{"Push.InFlight", int64(b.Push.InFlight)},
		{"Push.MaxBackoff", int64(b.Push.MaxBackoff)},
		{"Push.QuarantineAfter", int64(b.Push.QuarantineAfter)},
	} {
		if number.value < 0 {
			problem(number.field, errors.New("is negative; leave it 0 for the default"))
		}
	}
	if b.Outbox == nil {
		b.Outbox = outbox.NewMemory(outbox.Limits{})
	}
	if b.HoldRemoval == 0 {
		b.HoldRemoval = defaultHoldRemoval
	}
	if b.StartTimeout == 0 {
		b.StartTimeout = defaultStartTimeout
	}
	if b.Logger == nil {
		b.Logger = hclog.NewNullLogger()
	}
	if b.Transport.Prepare != nil || b.Transport.OnEvent != nil {
		problem("Transport", errors.New("has Prepare or OnEvent set, which are the Federation's own; use Builder.OnEvent, and Transport.Wrap for what should see requests"))
	}
	if b.Transport.AllowPlaintext {
		problem("Transport.AllowPlaintext", errors.New("is set, which is the Federation's own; set Builder.AllowPlaintext"))
	}
	if err := b.Transport.Validate(); err != nil {
		for _, err := range unjoin(err) {
			if option, ok := errors.AsType[*ConfigError](err); ok {
				problem("Transport."+option.Field, option.Err)
			}
		}
	}
	return peers, errors.Join(problems...)
}
