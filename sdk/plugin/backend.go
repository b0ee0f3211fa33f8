package plugin

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
	"github.com/alphaonedev/federation/signer"
)

// A backend answers the host with the providers of the configuration in force.
type backend struct {
	pluginpb.UnimplementedLifecycleServer
	server *Server
	log    hclog.Logger

	turn chan struct{} // holds one token: Configure calls come one at a time

	mu      sync.Mutex
	current *configured
}

// configured is one configuration in force and the keys of the material that was pulled under it.
type configured struct {
	settings  Settings
	providers Providers
	log       hclog.Logger

	ctx  context.Context // ends when another configuration takes over
	stop context.CancelFunc
	uses sync.WaitGroup

	mu         sync.Mutex
	identities keyring[crypto.Signer]
	keys       keyring[signer.Key]
}

// A keyring remembers the keys that the host was told of last, so that one handshake that began with the old
// identity still ends with it.
type keyring[K any] struct {
	entries []entry[K]
}

type entry[K any] struct {
	print string
	key   K
}

func (r *keyring[K]) add(print []byte, k K) {
	const most = 8
	r.entries = slices.DeleteFunc(r.entries, func(e entry[K]) bool { return e.print == string(print) })
	r.entries = append(r.entries, entry[K]{string(print), k})
	if len(r.entries) > most {
		r.entries = slices.Delete(r.entries, 0, 1)
	}
}

func (r *keyring[K]) find(print []byte) (k K, ok bool) {
	for _, e := range r.entries {
		if e.print == string(print) {
			return e.key, true
		}
	}
	return k, false
}

func newBackend(s *Server, log hclog.Logger) *backend {
	b := &backend{server: s, log: log, turn: make(chan struct{}, 1)}
	b.turn <- struct{}{}
	return b
}

// register puts the services on a gRPC server.
func (b *backend) register(s *grpc.Server) {
	pluginpb.RegisterLifecycleServer(s, b)
	pluginpb.RegisterTrustServer(s, trustServer{b: b})
	pluginpb.RegisterIdentityServer(s, identityServer{b: b})
	pluginpb.RegisterKeyServer(s, keyServer{b: b})
}

// close releases the providers in force.
func (b *backend) close() {
	b.mu.Lock()
	c := b.current
	b.current = nil
	b.mu.Unlock()
	if c != nil {
		c.retire()
	}
}

// retire waits for the calls under way and releases the providers.
func (c *configured) retire() {
	c.stop()
	c.uses.Wait()
	if c.providers.Close == nil {
		return
	}
	if err := safely(c.providers.Close); err != nil {
		c.log.Warn("closing the providers of an earlier configuration", "error", err)
	}
}

// use returns the configuration in force; the caller calls the function when it is done with it.
func (b *backend) use() (*configured, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == nil {
		return nil, nil, fmt.Errorf("%w: not configured yet", fault.ErrUnavailable)
	}
	b.current.uses.Add(1)
	return b.current, b.current.uses.Done, nil
}

func (b *backend) Info(context.Context, *pluginpb.InfoRequest) (*pluginpb.InfoResponse, error) {
	return &pluginpb.InfoResponse{
		Name:    b.server.Name,
		Version: b.server.Version,
		Roles:   wireRoles(b.server.Roles),
	}, nil
}

func (b *backend) Validate(ctx context.Context, r *pluginpb.ValidateRequest) (*pluginpb.ValidateResponse, error) {
	if b.server.Validate == nil {
		return nil, toStatus(fmt.Errorf("%w: only Configure can tell", fault.ErrUnsupported))
	}
	if err := b.server.Validate(fromConfiguration(r.Configuration)); err != nil {
		return nil, toStatus(err)
	}
	return &pluginpb.ValidateResponse{}, nil
}

func (b *backend) Configure(ctx context.Context, r *pluginpb.ConfigureRequest) (*pluginpb.ConfigureResponse, error) {
	select {
	case <-b.turn:
		defer func() { b.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, toStatus(ctx.Err())
	}
	s := fromConfiguration(r.Configuration)
	b.mu.Lock()
	old := b.current
	b.mu.Unlock()
	if old != nil {
		switch {
		case s.Revision < old.settings.Revision:
			return nil, toStatus(fmt.Errorf("%w: revision %d is in force, this is %d",
				fault.ErrConfig, old.settings.Revision, s.Revision))
		case s.Revision == old.settings.Revision && s.same(old.settings):
			return &pluginpb.ConfigureResponse{Roles: wireRoles(old.providers.roles())}, nil
		case s.Revision == old.settings.Revision:
			return nil, toStatus(fmt.Errorf("%w: revision %d is in force with other values", fault.ErrConfig, s.Revision))
		}
	}
	p, err := b.server.Configure(withLogger(ctx, b.log), s.clone())
	if err != nil {
		return nil, toStatus(err)
	}
	if len(p.roles()) == 0 {
		return nil, toStatus(fmt.Errorf("%w: the configuration gives this plugin no role", fault.ErrConfig))
	}
	next := &configured{settings: s, providers: p, log: b.log}
	next.ctx, next.stop = context.WithCancel(context.Background())
	b.mu.Lock()
	b.current = next
	b.mu.Unlock()
	if old != nil {
		go old.retire()
	}
	return &pluginpb.ConfigureResponse{Roles: wireRoles(p.roles())}, nil
}

func (p Providers) roles() []fault.Role {
	var r []fault.Role
	if p.Trust != nil {
		r = append(r, fault.RoleTrust)
	}
	if p.Identity != nil {
		r = append(r, fault.RoleIdentity)
	}
	if p.Key != nil {
		r = append(r, fault.RoleKey)
	}
	return r
}

func lacks(role fault.Role) error {
	return fmt.Errorf("%w: this plugin has no %s role as configured", fault.ErrUnsupported, role)
}

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

func fromConfiguration(c *pluginpb.Configuration) Settings {
	s := Settings{
		Values:     map[string]string{},
		Secrets:    map[string]Secret{},
		Revision:   c.GetRevision(),
		InstanceID: c.GetInstanceId(),
	}
	for k, v := range c.GetSettings() {
		s.Values[k] = v
	}
	for k, v := range c.GetSecrets() {
		s.Secrets[k] = Secret(v)
	}
	return s
}

func toConfiguration(s Settings) *pluginpb.Configuration {
	c := &pluginpb.Configuration{
		Settings:   s.Values,
		Secrets:    map[string][]byte{},
		Revision:   s.Revision,
		InstanceId: s.InstanceID,
	}
	for k, v := range s.Secrets {
		c.Secrets[k] = []byte(v)
	}
	return c
}

var roleOf = map[pluginpb.Role]fault.Role{
	pluginpb.Role_ROLE_TRUST:    fault.RoleTrust,
	pluginpb.Role_ROLE_IDENTITY: fault.RoleIdentity,
	pluginpb.Role_ROLE_KEY:      fault.RoleKey,
}

func wireRoles(roles []fault.Role) []pluginpb.Role {
	var out []pluginpb.Role
	for _, w := range []pluginpb.Role{pluginpb.Role_ROLE_TRUST, pluginpb.Role_ROLE_IDENTITY, pluginpb.Role_ROLE_KEY} {
		if slices.Contains(roles, roleOf[w]) {
			out = append(out, w)
		}
	}
	return out
}

// fromRoles ignores roles that this version does not know and those named twice.
func fromRoles(wire []pluginpb.Role) []fault.Role {
	var out []fault.Role
	for _, w := range wire {
		if r, ok := roleOf[w]; ok && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

func wireSchemes(s []tls.SignatureScheme) []uint32 {
	out := make([]uint32, len(s))
	for i, v := range s {
		out[i] = uint32(v)
	}
	return out
}

// millis rounds up, so that a short interval does not become "the host decides".
func millis(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

// fromMillis bounds what a plugin asks for, so that the conversion cannot overflow.
func fromMillis(ms int64) time.Duration {
	const most = 10 * 365 * 24 * time.Hour
	if ms <= 0 {
		return 0
	}
	if ms > most.Milliseconds() {
		return most
	}
	return time.Duration(ms) * time.Millisecond
}
