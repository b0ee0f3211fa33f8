package plugin

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/alphaonedev/federation/internal/fault"
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
	p, err := b.server.Configure(ctx, s.clone())
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
