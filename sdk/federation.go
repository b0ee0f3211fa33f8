package sdk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/internal/rotate"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// refreshTimeout bounds a pull that nobody waits for with a context of their own.
const refreshTimeout = 30 * time.Second

// A Federation is what Build makes: peers, policy and connections that follow every change of their material. It
// is safe for concurrent use. Close or Shutdown ends it; the providers stay the caller's.
type Federation struct {
	cfg    Builder       // validated, defaults filled in
	policy quorum.Policy // as the caller gave it, to be resolved again for another list of peers
	ctx    context.Context
	cancel context.CancelFunc
	events *events

	transport *transport.Transport
	client    *http.Client
	verifier  *signer.Verifier
	directory *signer.KeyDirectory

	global   *scope
	identity *rotate.Source[*identity] // nil: none is configured
	keys     *rotate.Source[*keyring]  // nil: none is configured
	holds    *holds
	signing  atomic.Pointer[signing]
	acks     ackSigner
	delivery *delivery
	retired  retirement
	serving  atomic.Pointer[identity]
	stranded atomic.Bool            // acceptIdentity keeps a certificate out of service
	id       atomic.Pointer[string] // what this node calls itself
	denied   denials

	state   atomic.Pointer[roster]
	peersMu sync.Mutex // serialises SetPeers

	signingMu  sync.Mutex // serialises changes of signing
	unusable   error      // why the keys that loaded last were not put into service; nil if they were
	barren     barrenPulls
	distrustMu sync.Mutex
	distrusted []distrusted

	background sync.WaitGroup
	stopping   atomic.Bool // Shutdown has begun
	closing    sync.Once
	closeErr   error
}

// newFederation starts what a validated Builder describes. On an error nothing is left running.
func newFederation(ctx context.Context, cfg Builder, policy quorum.Policy, peers []Peer) (_ *Federation, err error) {
	f := &Federation{cfg: cfg, policy: policy, events: newEvents(cfg.Logger, cfg.OnEvent)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.holds = newHolds(f)
	defer func() {
		if err != nil {
			f.Close()
		}
	}()

	options := cfg.Transport
	options.Prepare, options.OnEvent = f.prepare, f.transportEvent
	options.AllowPlaintext = cfg.AllowPlaintext
	if options.Logger == nil {
		options.Logger = cfg.Logger.Named("transport")
	}
	if f.transport, err = transport.New(options); err != nil {
		return nil, &ConfigError{Field: "Transport", Err: err}
	}
	scopes, err := f.startProviders(ctx, peers)
	if err != nil {
		return nil, err
	}
	f.state.Store(newRoster(peers, scopes, cfg.Quorum, nil))
	if err := f.checkID(); err != nil {
		return nil, err
	}
	if err := f.startSigning(); err != nil {
		return nil, err
	}
	f.delivery = newDelivery(cfg.Outbox, f, cfg.Push, policy.AckTimeout, f.sender(), f.events.emit)
	f.client = &http.Client{Transport: clientTransport{f}, CheckRedirect: f.checkRedirect}
	if err := f.update(); err != nil {
		return nil, fmt.Errorf("sdk: %w", err)
	}
	if err := f.delivery.resume(ctx, f.state.Load().refs()); err != nil {
		return nil, &ConfigError{Field: "Outbox", Err: err}
	}
	return f, nil
}

// startProviders asks all providers at once, and returns the scope of each peer.
func (f *Federation) startProviders(ctx context.Context, peers []Peer) ([]*scope, error) {
	var wg sync.WaitGroup
	var trustErr, identityErr, keyErr error
	wg.Go(func() {
		var s *scope
		if s, trustErr = f.startScope(ctx, "", f.cfg.Trust); trustErr == nil {
			f.global = s
		}
	})
	if f.cfg.Identity != nil {
		wg.Go(func() { identityErr = f.startIdentity(ctx) })
	}
	if f.cfg.Key != nil {
		wg.Go(func() { keyErr = f.startKeys(ctx) })
	}
	wg.Wait()
	var problems []error
	for _, p := range []*ConfigError{{Field: "Trust", Err: trustErr}, {Field: "Identity", Err: identityErr}, {Field: "Key", Err: keyErr}} {
		if p.Err != nil {
			problems = append(problems, p)
		}
	}
	if f.global == nil {
		return nil, errors.Join(problems...)
	}
	scopes, started, err := f.scopesFor(ctx, peers, nil)
	if err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		for _, s := range started {
			s.source.Close()
		}
		return nil, errors.Join(problems...)
	}
	return scopes, nil
}

func (f *Federation) startIdentity(ctx context.Context) error {
	source, err := rotate.Start(ctx, rotate.Config[*identity]{
		Role:     RoleIdentity,
		Pull:     func(ctx context.Context) (*identity, error) { return pullIdentity(ctx, f.cfg.Identity) },
		Watch:    watchOf(f.cfg.Identity),
		Equal:    sameIdentity,
		Accept:   f.acceptIdentity,
		Life:     func(i *identity) rotate.Life { return i.life },
		OnChange: func(_, i *identity) { f.serving.Store(i); f.apply(RoleIdentity) },
		OnSame:   f.renewHandle,
		OnEvent:  func(e rotate.Event) { f.events.emit(materialEvent(e, "")) },
	})
	if err != nil {
		return err
	}
	f.identity = source
	if i, ok := source.Current(); ok {
		f.serving.CompareAndSwap(nil, i) // a change since has gone through OnChange
	}
	return nil
}

func (f *Federation) startKeys(ctx context.Context) error {
	source, err := rotate.Start(ctx, rotate.Config[*keyring]{
		Role: RoleKey,
		Poll: true,
		Pull: func(ctx context.Context) (*keyring, error) {
			return pullKeys(ctx, f.cfg.Key, func() *keyring { return f.ring() })
		},
		Watch:    watchOf(f.cfg.Key),
		Equal:    sameKeys,
		Life:     func(k *keyring) rotate.Life { return k.life },
		OnChange: func(_, k *keyring) { f.useKeys(k) },
		OnSame:   f.useKeys,
		OnEvent:  f.keyEvent,
		Optional: f.cfg.Signing == SignPreferred,
	})
	if err != nil {
		return err
	}
	f.keys = source
	if k, ok := source.Current(); ok && f.ring() == nil { // a change since has gone through OnChange
		f.useKeys(k)
	}
	return nil
}

// checkID settles what this node calls itself.
func (f *Federation) checkID() error {
	if f.cfg.ID != "" {
		f.id.Store(&f.cfg.ID)
		return nil
	}
	if names := f.serving.Load().names(); len(names) > 0 {
		f.id.Store(&names[0])
		return nil
	}
	if f.cfg.Key == nil && f.cfg.Identity == nil {
		return nil
	}
	return &ConfigError{Field: "ID", Err: errors.New("is empty and the certificate has no URI, DNS name or address to take it from; set it to what this node calls itself")}
}

// ID is what this node calls itself.
func (f *Federation) ID() string {
	if id := f.id.Load(); id != nil {
		return *id
	}
	return "" // Build is not that far yet, or nothing names this node
}

// Peers returns the list of peers in force, with all defaults filled in. It is a copy.
func (f *Federation) Peers() []Peer { return f.state.Load().peers() }

// Policy returns the quorum policy in force, resolved: N is the number of nodes, Writes a number of them.
func (f *Federation) Policy() quorum.Policy { return f.state.Load().policy }

// SetPeers replaces the list of peers while the Federation runs. The list is validated as Build does, trust
// providers that are new are asked within ctx, and the quorum is resolved again: a policy that the new list
// cannot meet is an error. On an error nothing changes. Connections with peers that left are closed, and
// queues for them are kept and reported in Status.
func (f *Federation) SetPeers(ctx context.Context, peers []Peer) error {
	if f.isClosed() {
		return closedError("set peers")
	}
	f.peersMu.Lock()
	defer f.peersMu.Unlock()
	before := f.state.Load()
	checked, err := validatePeers(peers, f.cfg.AllowPlaintext)
	if err != nil {
		return err
	}
	resolved, err := f.policy.Resolve(len(peers))
	if err != nil {
		return err
	}
	scopes, started, err := f.scopesFor(ctx, checked, before.members)
	if err != nil {
		return err
	}
	after := newRoster(checked, scopes, resolved, before)
	undo := func() {
		for _, s := range started {
			f.closeScope(s)
		}
	}
	if err := f.directory.SetPeers(after.directoryPeers()); err != nil {
		undo()
		return fmt.Errorf("sdk: set peers: %w", err)
	}
	f.state.Store(after)
	err = f.update()
	if f.isClosed() { // Close may have closed what belongs to the peers of before alone
		err = ErrClosed
	}
	if err != nil {
		f.state.Store(before)
		_ = f.directory.SetPeers(before.directoryPeers()) // it was accepted before
		undo()
		return fmt.Errorf("sdk: set peers: %w", err)
	}
	f.closeUnused(before.members, after.members)
	if err := f.delivery.resume(ctx, after.refs()); err != nil {
		f.events.emit(Event{Kind: EventOutboxError, Err: err, Detail: "what waits for the new peers is sent with the next push to them"})
	}
	f.events.emit(Event{Kind: EventPeers, Detail: fmt.Sprintf("%d peers, quorum %v", len(checked), resolved)})
	return nil
}

// Refresh asks every provider now, and waits within ctx until all have answered. The errors of those that
// failed come joined; what they had before stays in service.
func (f *Federation) Refresh(ctx context.Context) error {
	if f.isClosed() {
		return closedError("refresh")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var problems []error
	refresh := func(pull func(context.Context) error) {
		wg.Go(func() {
			if err := pull(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, err)
			}
		})
	}
	for _, s := range f.scopes() {
		refresh(s.source.Refresh)
	}
	if f.identity != nil {
		refresh(f.identity.Refresh)
	}
	if f.keys != nil {
		refresh(f.keys.Refresh)
	}
	wg.Wait()
	return errors.Join(problems...)
}

// Warm handshakes a connection with every peer that has none, so that first requests find them open, and fetches the
// signing keys of those whose keys are not configured, so that first acks can be verified. It returns when all have
// answered or failed, or ctx ends; the errors of the connections that failed come joined. Keys that cannot be
// fetched are an event, and are asked for again when they are needed.
func (f *Federation) Warm(ctx context.Context) error {
	err := f.transport.Warm(ctx)
	if f.keys == nil {
		return err
	}
	open := make(map[string]bool)
	for _, p := range f.transport.Stats().Peers {
		open[p.Name] = p.Open[transport.Quorum] > 0
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, checkParallel)
	for _, m := range f.state.Load().members {
		if !open[m.Name] || len(m.Keys) > 0 || m.Wire != signer.WireFederation || ctx.Err() != nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			_, _ = f.directory.Keys(ctx, m.Name)
		})
	}
	wg.Wait()
	return err
}

// ClientTLS returns a configuration for TLS connections to the named peer, for gRPC and the like: the same
// checks and the same identity as Client's, following every rotation. With the name of no peer, every handshake
// fails with ErrConfig.
func (f *Federation) ClientTLS(peer string) *tls.Config {
	c, err := f.transport.ClientTLS(peer)
	if err != nil {
		// VerifyConnection fails whatever is shown; crypto/tls is kept from failing before it, for another reason.
		return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return err }}
	}
	return c
}

// Listener returns a listener whose connections speak TLS with this node's identity and come from peers
// alone. A change of trust closes those that no longer hold. It closes l with itself. Server is easier where
// HTTP is served.
func (f *Federation) Listener(l net.Listener) net.Listener { return f.transport.Listener(l) }

// scopes returns every scope there is, each once.
func (f *Federation) scopes() []*scope {
	out := []*scope{f.global}
	seen := map[*scope]bool{f.global: true}
	for _, m := range f.state.Load().members {
		if !seen[m.scope] {
			seen[m.scope] = true
			out = append(out, m.scope)
		}
	}
	return out
}
