package plugin

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// The three roles of a Plugin, as sdk knows them.
type (
	trustProvider    struct{ p *Plugin }
	identityProvider struct{ p *Plugin }
	keyProvider      struct{ p *Plugin }
)

var (
	_ sdk.Watcher = trustProvider{}
	_ sdk.Watcher = identityProvider{}
	_ sdk.Watcher = keyProvider{}
)

// askAgain is when to pull again after an answer from memory, while no process serves.
const askAgain = time.Second

// TrustBundle pulls the bundle. While no process serves it returns the last good one, to be refreshed soon.
func (t trustProvider) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	return pull(ctx, t.p, fault.RoleTrust, t.p.pullTrust, func(b *sdk.TrustBundle) *sdk.TrustBundle {
		c := *b
		c.RefreshAfter = askAgain
		return &c
	})
}

func (p *Plugin) pullTrust(ctx context.Context, in *instance) (*sdk.TrustBundle, error) {
	answer, err := in.trust.TrustBundle(ctx, &pluginpb.TrustBundleRequest{})
	if err != nil {
		return nil, err
	}
	b, err := checkTrust(ctx, answer)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, p.reject(in, fault.RoleTrust, err)
	}
	if why := clean(in.logs.redact(answer.Partial)); why != "" {
		b.Partial = &remoteError{text: why, is: fault.ErrUnavailable}
	}
	return b, nil
}

// Identity pulls the identity. While no process serves it returns the last good one that is still valid.
func (i identityProvider) Identity(ctx context.Context) (*sdk.Identity, error) {
	return pull(ctx, i.p, fault.RoleIdentity, i.p.pullIdentity, func(id *sdk.Identity) *sdk.Identity {
		if time.Now().After(id.Certificate.Leaf.NotAfter) {
			return nil
		}
		return &sdk.Identity{Certificate: id.Certificate, RefreshAfter: askAgain}
	})
}

func (p *Plugin) pullIdentity(ctx context.Context, in *instance) (*sdk.Identity, error) {
	answer, err := in.identity.Identity(ctx, &pluginpb.IdentityRequest{})
	if err != nil {
		return nil, err
	}
	id, err := checkIdentity(answer, time.Now())
	if err != nil {
		return nil, p.reject(in, fault.RoleIdentity, err)
	}
	if err := p.proveIdentity(ctx, in, id); err != nil {
		return nil, err
	}
	return &sdk.Identity{
		Certificate: &tls.Certificate{
			Certificate:                  id.chain,
			Leaf:                         id.leaf,
			PrivateKey:                   &remoteSigner{p: p, public: id.leaf.PublicKey, print: id.print},
			SupportedSignatureAlgorithms: id.schemes,
		},
		RefreshAfter: id.refresh,
	}, nil
}

// SigningKeys pulls the keys. While no process serves it returns the last good ones.
func (k keyProvider) SigningKeys(ctx context.Context) (*sdk.KeySet, error) {
	return pull(ctx, k.p, fault.RoleKey, k.p.pullKeys, func(s *sdk.KeySet) *sdk.KeySet {
		c := *s
		c.RefreshAfter = askAgain
		return &c
	})
}

func (p *Plugin) pullKeys(ctx context.Context, in *instance) (*sdk.KeySet, error) {
	answer, err := in.key.SigningKeys(ctx, &pluginpb.SigningKeysRequest{})
	if err != nil {
		return nil, err
	}
	active, published, err := checkKeys(answer)
	if err != nil {
		return nil, p.reject(in, fault.RoleKey, err)
	}
	chains, err := checkKeyChains(answer, active, published)
	if err != nil {
		return nil, p.reject(in, fault.RoleKey, err)
	}
	print, err := fingerprint(active)
	if err != nil {
		return nil, err
	}
	if err := p.proveKey(ctx, in, active, print); err != nil {
		return nil, err
	}
	set := &sdk.KeySet{
		Active:       &remoteKey{p: p, public: active, print: print},
		Chains:       chains,
		RefreshAfter: fromMillis(answer.RefreshAfterMs),
	}
	for _, k := range published {
		set.Published = append(set.Published, crypto.PublicKey(k))
	}
	return set, nil
}

// pull calls f. While no process serves it returns the last good answer, if remembered still accepts it.
func pull[T any](ctx context.Context, p *Plugin, role fault.Role, f func(context.Context, *instance) (*T, error), remembered func(*T) *T) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, &fault.ProviderError{Role: role, Op: "pull", Err: err}
	}
	if v, ok := p.degraded(role).(*T); ok && v != nil {
		if v = remembered(v); v != nil {
			return v, nil
		}
	}
	var out *T
	err := p.call(ctx, role, "pull", p.limits.Call, true, func(ctx context.Context, in *instance) (err error) {
		if out, err = f(ctx, in); err == nil {
			p.pulled(in, role, out)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Watch tells of every change of the roots, and of every other process that serves them.
func (t trustProvider) Watch(ctx context.Context, changed func()) error {
	return t.p.watch(ctx, fault.RoleTrust, changed, func(ctx context.Context, in *instance) (watchStream, error) {
		return in.trust.Watch(ctx, &pluginpb.WatchRequest{})
	})
}

// Watch tells of every change of the identity, and of every other process that serves it.
func (i identityProvider) Watch(ctx context.Context, changed func()) error {
	return i.p.watch(ctx, fault.RoleIdentity, changed, func(ctx context.Context, in *instance) (watchStream, error) {
		return in.identity.Watch(ctx, &pluginpb.WatchRequest{})
	})
}

// Watch tells of every change of the keys, and of every other process that serves them.
func (k keyProvider) Watch(ctx context.Context, changed func()) error {
	return k.p.watch(ctx, fault.RoleKey, changed, func(ctx context.Context, in *instance) (watchStream, error) {
		return in.key.Watch(ctx, &pluginpb.WatchRequest{})
	})
}

type watchStream = grpc.ServerStreamingClient[pluginpb.WatchResponse]

// breath is the shortest time between two messages of a stream that are passed on. One that comes sooner waits.
const breath = 20 * time.Millisecond

// lasting is how long a stream must have lasted for its end to be the first of a new series.
const lasting = time.Second

// watch subscribes to one generation after the other, until ctx ends or the plugin says that it must be
// polled.
func (p *Plugin) watch(ctx context.Context, role fault.Role, changed func(), open func(context.Context, *instance) (watchStream, error)) error {
	kicked := make(chan struct{}, 1)
	p.mu.Lock()
	p.watchers[kicked] = role
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.watchers, kicked)
		p.mu.Unlock()
	}()
	var last *instance
	failures := 0
	for {
		in, err := p.await(ctx, ctx, role, 0)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		began := time.Now()
		err = p.follow(ctx, in, kicked, changed, open)
		in.uses.Done()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case p.ctx.Err() != nil:
			return fmt.Errorf("plugin %s: %w", in.name, fault.ErrClosed)
		case status.Code(err) == codes.Unimplemented:
			return fmt.Errorf("plugin %s: %w: it must be polled", in.name, fault.ErrUnsupported)
		}
		if in != last || time.Since(began) >= lasting {
			failures = 0
		}
		last = in
		// A stream that ends while its process lives is opened again, but not in a hurry. That it said something
		// proves nothing: a plugin may send a first message before it looks whether it can watch.
		t := time.NewTimer(p.backoff(failures))
		failures++
		select {
		case <-t.C:
		case <-in.dead:
		case <-kicked: // it may have another configuration
			changed()
			failures = 0
		case <-ctx.Done():
		case <-p.ctx.Done():
		}
		t.Stop()
	}
}

// follow passes on what one stream says, until it ends or its generation is not in service any more.
func (p *Plugin) follow(parent context.Context, in *instance, kicked <-chan struct{}, changed func(), open func(context.Context, *instance) (watchStream, error)) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	stream, err := open(ctx, in)
	if err != nil {
		return err
	}
	messages := make(chan error)
	go func() {
		defer close(messages)
		for {
			_, err := stream.Recv()
			select {
			case messages <- err:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			select { // a plugin that floods is read no faster
			case <-time.After(breath):
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { // the goroutine ends with the stream
		cancel()
		for range messages {
		}
	}()
	for {
		p.mu.Lock()
		current, other := p.current, p.changed
		p.mu.Unlock()
		if current != in {
			return errors.New("another generation serves")
		}
		select {
		case err, ok := <-messages:
			if !ok {
				return ctx.Err()
			}
			if err != nil {
				return err
			}
			changed()
		case <-kicked:
			changed()
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
