package plugin

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
	"github.com/alphaonedev/federation/signer"
)

type trustServer struct {
	pluginpb.UnimplementedTrustServer
	b *backend
}

func (t trustServer) TrustBundle(ctx context.Context, _ *pluginpb.TrustBundleRequest) (*pluginpb.TrustBundleResponse, error) {
	c, done, err := t.b.use()
	if err != nil {
		return nil, toStatus(err)
	}
	defer done()
	if c.providers.Trust == nil {
		return nil, toStatus(lacks(fault.RoleTrust))
	}
	bundle, err := c.providers.Trust.TrustBundle(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	if bundle == nil {
		return nil, toStatus(fmt.Errorf("%w: the provider returned no bundle", fault.ErrMaterial))
	}
	out := &pluginpb.TrustBundleResponse{RefreshAfterMs: millis(bundle.RefreshAfter)}
	if bundle.Partial != nil {
		out.Partial = clean(bundle.Partial.Error())
	}
	for _, r := range bundle.Roots {
		out.Roots = append(out.Roots, r.Raw)
	}
	for _, l := range bundle.CRLs {
		out.Crls = append(out.Crls, l.Raw)
	}
	return out, nil
}

func (t trustServer) Watch(_ *pluginpb.WatchRequest, s grpc.ServerStreamingServer[pluginpb.WatchResponse]) error {
	return t.b.watch(s, func(p Providers) any { return p.Trust })
}

type identityServer struct {
	pluginpb.UnimplementedIdentityServer
	b *backend
}

func (i identityServer) Identity(ctx context.Context, _ *pluginpb.IdentityRequest) (*pluginpb.IdentityResponse, error) {
	c, done, err := i.b.use()
	if err != nil {
		return nil, toStatus(err)
	}
	defer done()
	out, err := c.identity(ctx)
	return out, toStatus(err)
}

func (c *configured) identity(ctx context.Context) (*pluginpb.IdentityResponse, error) {
	if c.providers.Identity == nil {
		return nil, lacks(fault.RoleIdentity)
	}
	id, err := c.providers.Identity.Identity(ctx)
	if err != nil {
		return nil, err
	}
	if id == nil || id.Certificate == nil || len(id.Certificate.Certificate) == 0 {
		return nil, fmt.Errorf("%w: the provider returned no certificate", fault.ErrMaterial)
	}
	key, ok := id.Certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: the private key is %T, which cannot sign", fault.ErrMaterial, id.Certificate.PrivateKey)
	}
	leaf, err := x509.ParseCertificate(id.Certificate.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("%w: leaf: %w", fault.ErrMaterial, err)
	}
	print, err := fingerprint(leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	if own, err := fingerprint(key.Public()); err != nil || !bytes.Equal(own, print) {
		return nil, fmt.Errorf("%w: the private key does not belong to the leaf", fault.ErrMaterial)
	}
	c.mu.Lock()
	c.identities.add(print, key)
	c.mu.Unlock()
	schemes := id.Certificate.SupportedSignatureAlgorithms
	if schemes == nil {
		schemes = schemesOf(leaf.PublicKey)
	}
	return &pluginpb.IdentityResponse{
		Chain:            id.Certificate.Certificate,
		Fingerprint:      print,
		SignatureSchemes: wireSchemes(schemes),
		RefreshAfterMs:   millis(id.RefreshAfter),
	}, nil
}

func (i identityServer) Watch(_ *pluginpb.WatchRequest, s grpc.ServerStreamingServer[pluginpb.WatchResponse]) error {
	return i.b.watch(s, func(p Providers) any { return p.Identity })
}

func (i identityServer) Sign(ctx context.Context, r *pluginpb.IdentitySignRequest) (*pluginpb.SignResponse, error) {
	c, done, err := i.b.use()
	if err != nil {
		return nil, toStatus(err)
	}
	defer done()
	find := func() (crypto.Signer, bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.identities.find(r.Fingerprint)
	}
	key, ok := find()
	if !ok {
		// After a restart nothing has been pulled yet; the key may well be the same.
		if _, err := c.identity(ctx); err != nil {
			return nil, toStatus(err)
		}
		if key, ok = find(); !ok {
			return nil, toStatus(errStale)
		}
	}
	opts, err := signOpts(key.Public(), r)
	if err != nil {
		return nil, toStatus(err)
	}
	var sig []byte
	if s, ok := key.(interface {
		SignContext(context.Context, []byte, crypto.SignerOpts) ([]byte, error)
	}); ok {
		sig, err = s.SignContext(ctx, r.Input, opts)
	} else {
		sig, err = key.Sign(rand.Reader, r.Input, opts)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pluginpb.SignResponse{Signature: sig}, nil
}

type keyServer struct {
	pluginpb.UnimplementedKeyServer
	b *backend
}

func (k keyServer) SigningKeys(ctx context.Context, _ *pluginpb.SigningKeysRequest) (*pluginpb.SigningKeysResponse, error) {
	c, done, err := k.b.use()
	if err != nil {
		return nil, toStatus(err)
	}
	defer done()
	out, err := c.signingKeys(ctx)
	return out, toStatus(err)
}

func (c *configured) signingKeys(ctx context.Context) (*pluginpb.SigningKeysResponse, error) {
	if c.providers.Key == nil {
		return nil, lacks(fault.RoleKey)
	}
	set, err := c.providers.Key.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	if set == nil || set.Active == nil {
		return nil, fmt.Errorf("%w: the provider returned no key", fault.ErrMaterial)
	}
	active, ok := set.Active.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: the key is %T, want Ed25519", fault.ErrMaterial, set.Active.Public())
	}
	print, err := fingerprint(active)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.keys.add(print, set.Active)
	c.mu.Unlock()
	out := &pluginpb.SigningKeysResponse{Active: active, RefreshAfterMs: millis(set.RefreshAfter)}
	for _, p := range set.Published {
		pub, ok := p.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("%w: a published key is %T, want Ed25519", fault.ErrMaterial, p)
		}
		out.Published = append(out.Published, pub)
	}
	for _, chain := range set.Chains {
		kc := new(pluginpb.KeyChain)
		for _, cert := range chain {
			kc.Certificates = append(kc.Certificates, cert.Raw)
		}
		out.Chains = append(out.Chains, kc)
	}
	return out, nil
}

func (k keyServer) Watch(_ *pluginpb.WatchRequest, s grpc.ServerStreamingServer[pluginpb.WatchResponse]) error {
	return k.b.watch(s, func(p Providers) any { return p.Key })
}

func (k keyServer) Sign(ctx context.Context, r *pluginpb.KeySignRequest) (*pluginpb.SignResponse, error) {
	c, done, err := k.b.use()
	if err != nil {
		return nil, toStatus(err)
	}
	defer done()
	find := func() (signer.Key, bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.keys.find(r.Fingerprint)
	}
	key, ok := find()
	if !ok {
		if _, err := c.signingKeys(ctx); err != nil {
			return nil, toStatus(err)
		}
		if key, ok = find(); !ok {
			return nil, toStatus(errStale)
		}
	}
	sig, err := key.Sign(ctx, r.Message)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pluginpb.SignResponse{Signature: sig}, nil
}

// watch sends one message at once and one for every change that the provider tells of. A host that reads
// slowly gets one message for many changes.
func (b *backend) watch(s grpc.ServerStreamingServer[pluginpb.WatchResponse], of func(Providers) any) error {
	c, done, err := b.use()
	if err != nil {
		return toStatus(err)
	}
	defer done()
	w, ok := of(c.providers).(sdk.Watcher)
	if !ok {
		return toStatus(fmt.Errorf("%w: poll me", fault.ErrUnsupported))
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)() // another configuration: the host subscribes to it again

	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	ended := make(chan error, 1)
	go func() {
		ended <- safely(func() error {
			return w.Watch(ctx, func() {
				select {
				case changed <- struct{}{}:
				default: // one is on its way
				}
			})
		})
	}()
	// An answer of "poll me" comes at once, and must come before the first message.
	select {
	case err := <-ended:
		return toStatus(endOfWatch(ctx, err))
	case <-time.After(20 * time.Millisecond):
	}
	for {
		select {
		case <-changed:
			if err := s.Send(&pluginpb.WatchResponse{}); err != nil {
				cancel()
				<-ended
				return err
			}
		case err := <-ended:
			return toStatus(endOfWatch(ctx, err))
		}
	}
}

func endOfWatch(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: the watch has ended; subscribe again", fault.ErrUnavailable)
	case err == nil:
		return fmt.Errorf("%w: poll me", fault.ErrUnsupported)
	default:
		return err
	}
}
