package plugin

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// A Plugin is a plugin under supervision. Its methods are safe for concurrent use.
type Plugin struct {
	log        hclog.Logger
	path       string // of the executable that Open was given; "": attached
	limits     Limits
	instanceID string
	onEvent    func(Event)

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{} // closed when the supervisor has ended

	turn chan struct{} // holds one token: Configure and Replace come one at a time
	tell sync.Mutex    // events come one at a time

	images sync.RWMutex // read-held while a process starts, so that no image is closed under it

	mu        sync.Mutex
	config    Config // of the version in force; the settings in force are in settings
	settings  Settings
	image     *image
	current   *instance     // nil while none serves
	changed   chan struct{} // closed and made anew whenever current changes
	epoch     uint64        // grows with every Replace
	lastGen   uint64        // the latest generation started
	state     State
	since     time.Time
	lastErr   string
	next      time.Time
	roles     []fault.Role
	name      string
	version   string
	served    uint64 // the generation in service, or the last one that was
	digest    string // of that
	material  map[fault.Role]Origin
	cached    map[fault.Role]any // the last good answer to a pull
	watchers  map[chan struct{}]fault.Role
	retiring  sync.WaitGroup
	restarts  uint64
	hangs     uint64
	calls     atomic.Uint64
	failures  atomic.Uint64
	retries   atomic.Uint64
	rejected  atomic.Uint64
	linesLost atomic.Uint64
}

// Open starts the plugin, configures it, and returns once it serves. ctx and Limits.Start bound the start
// only; afterwards the plugin runs, and is started again whenever it ends, until the caller closes the Plugin.
//
// Open does not try twice: a configuration that cannot work, or a plugin that the node must not use, wraps
// ErrConfig, ErrMaterial, ErrPermission or ErrUnsupported; what may work another time wraps ErrUnavailable.
// After an error nothing is left behind.
func Open(ctx context.Context, c Config) (*Plugin, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("plugin: %w", err)
	}
	c.Limits = c.Limits.withDefaults()
	if c.InstanceID == "" {
		c.InstanceID = rand.Text()
	}
	p := &Plugin{
		log:    loggerFor(&c),
		path:   c.Path,
		limits: c.Limits, instanceID: c.InstanceID, onEvent: c.OnEvent,
		done:     make(chan struct{}),
		turn:     make(chan struct{}, 1),
		config:   c,
		settings: c.settings(1),
		changed:  make(chan struct{}),
		state:    Degraded,
		since:    time.Now(),
		material: map[fault.Role]Origin{},
		cached:   map[fault.Role]any{},
		watchers: map[chan struct{}]fault.Role{},
	}
	p.turn <- struct{}{}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	fail := func(err error) (*Plugin, error) {
		p.cancel()
		if p.image != nil {
			p.image.close()
		}
		return nil, err
	}
	if c.Attach == "" {
		im, err := newImage(&c)
		if err != nil {
			return fail(fmt.Errorf("plugin: %w", err))
		}
		p.image = im
	}
	in, err := p.start(ctx, p.image, &c, p.settings)
	if err != nil {
		return fail(err)
	}
	p.serve(in, func() bool { return true })
	go p.supervise()
	return p, nil
}

func loggerFor(c *Config) hclog.Logger {
	if c.Logger == nil {
		return hclog.NewNullLogger()
	}
	name := "plugin"
	if c.Path != "" {
		name = filepath.Base(c.Path)
	}
	return c.Logger.Named(name)
}

// start launches the next generation and configures it.
func (p *Plugin) start(ctx context.Context, im *image, c *Config, s Settings) (*instance, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Limits.Start)
	defer cancel()
	p.mu.Lock()
	p.lastGen++
	generation := p.lastGen
	p.mu.Unlock()
	logs := newLogReader(p.log, c.Limits, redactor(s.Secrets), &p.linesLost)
	var in *instance
	var err error
	if c.Attach != "" {
		in, err = attach(ctx, c, generation, logs, p.log)
	} else {
		in, err = launch(ctx, im, c, generation, logs, p.log)
	}
	if err != nil {
		return nil, err
	}
	roles, err := in.configure(ctx, s)
	if err != nil {
		err = fmt.Errorf("%w%s", err, in.said())
		in.stop(true)
		return nil, err
	}
	in.roles, in.revision = roles, s.Revision
	return in, nil
}

// serve puts in into service, if may says so under mu.
func (p *Plugin) serve(in *instance, may func() bool) bool {
	p.mu.Lock()
	if !may() {
		p.mu.Unlock()
		return false
	}
	p.current, in.since = in, time.Now()
	p.roles, p.name, p.version = in.roles, in.name, in.version
	p.served, p.digest = in.generation, in.digest()
	p.enter(Serving)
	p.lastErr, p.next = "", time.Time{}
	p.announce()
	p.mu.Unlock()
	p.log.Info("plugin serves", "name", in.name, "version", in.version, "generation", in.generation, "pid", in.pid())
	p.event(Event{Kind: EventStarted, Generation: in.generation, Digest: in.digest(), PID: in.pid()})
	return true
}

// enter changes the state; the caller holds mu.
func (p *Plugin) enter(s State) {
	if p.state != s {
		p.state, p.since = s, time.Now()
	}
}

// announce wakes everybody who waits for another generation; the caller holds mu.
func (p *Plugin) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Plugin) event(e Event) {
	if p.onEvent == nil {
		return
	}
	e.Time = time.Now()
	p.tell.Lock()
	defer p.tell.Unlock()
	p.onEvent(e)
}

// Trust returns the plugin's trust provider, an sdk.Watcher too. A plugin that has no such role as configured
// is ErrUnsupported, and the error says what it has. The provider lives as long as the Plugin.
func (p *Plugin) Trust() (sdk.TrustProvider, error) {
	if err := p.has(fault.RoleTrust); err != nil {
		return nil, err
	}
	return trustProvider{p}, nil
}

// Identity returns the plugin's identity provider, an sdk.Watcher too, with the rules of Trust. The private
// key stays in the plugin: what PrivateKey signs is signed there, within Limits.Sign. When the plugin has another
// key by now, signing is ErrExpired: pull again. A Federation does so by itself.
func (p *Plugin) Identity() (sdk.IdentityProvider, error) {
	if err := p.has(fault.RoleIdentity); err != nil {
		return nil, err
	}
	return identityProvider{p}, nil
}

// Key returns the plugin's key provider, an sdk.Watcher too, with the rules of Trust. The private key stays
// in the plugin. When the plugin has another key by now, signing is ErrExpired: pull again. A Federation does so
// by itself, and signs what it was about to with the new key.
func (p *Plugin) Key() (sdk.KeyProvider, error) {
	if err := p.has(fault.RoleKey); err != nil {
		return nil, err
	}
	return keyProvider{p}, nil
}

// Format prints the executable alone: the value holds the secrets in force.
func (p *Plugin) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "plugin.Plugin{%s}", p.path) }

func (p *Plugin) has(r fault.Role) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Closed {
		return fmt.Errorf("plugin %s: %w", p.name, fault.ErrClosed)
	}
	if !slices.Contains(p.roles, r) {
		return p.lacksLocked(r)
	}
	return nil
}

func (p *Plugin) lacksLocked(r fault.Role) error {
	return fmt.Errorf("plugin %s: %w: it has no %s role as configured; it has %v", p.name, fault.ErrUnsupported, r, p.roles)
}

// Configure puts other settings and secrets in force, for the process in service and every later one. After
// an error those of before stay in force; a configuration that the plugin refuses wraps ErrConfig.
func (p *Plugin) Configure(ctx context.Context, settings map[string]string, secrets map[string]Secret) error {
	if err := sendable(settings, secrets); err != nil {
		return fmt.Errorf("plugin: %w", err)
	}
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	p.mu.Lock()
	s := Settings{Values: settings, Secrets: secrets, Revision: p.settings.Revision + 1, InstanceID: p.settings.InstanceID}.clone()
	p.mu.Unlock()
	var roles []fault.Role
	err := p.call(ctx, "", "configure", p.limits.Call, true, func(ctx context.Context, in *instance) (err error) {
		p.mu.Lock()
		s.Revision = max(s.Revision, in.revision+1)
		p.mu.Unlock()
		roles, err = in.configure(ctx, s)
		if err == nil {
			p.mu.Lock()
			in.roles, in.revision = roles, s.Revision
			in.logs.setRedactor(s.Secrets)
			p.settings, p.roles = s, roles
			clear(p.cached)
			p.mu.Unlock()
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range roles {
		p.kick(r)
	}
	return nil
}

// Validate asks the plugin whether settings and secrets can work, without using them. A plugin that cannot
// tell is ErrUnsupported.
func (p *Plugin) Validate(ctx context.Context, settings map[string]string, secrets map[string]Secret) error {
	if err := sendable(settings, secrets); err != nil {
		return fmt.Errorf("plugin: %w", err)
	}
	s := Settings{Values: settings, Secrets: secrets, InstanceID: p.instanceID}
	return p.call(ctx, "", "validate", p.limits.Call, true, func(ctx context.Context, in *instance) error {
		return in.validate(ctx, s)
	})
}

// take waits for the turn of an operation that changes the plugin.
func (p *Plugin) take(ctx context.Context) error {
	select {
	case <-p.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
		return fmt.Errorf("plugin: %w", fault.ErrClosed)
	}
}

func (p *Plugin) give() { p.turn <- struct{}{} }

// Close stops the plugin and waits until its process is gone: it has Limits.Stop to end when asked, is then killed, and is
// left to the kernel where that has not ended it in as long again. Calls under way end with ErrClosed. It is idempotent.
func (p *Plugin) Close() error {
	p.cancel()
	<-p.done
	return nil
}

// Status says how the plugin is.
func (p *Plugin) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		State: p.state, Since: p.since,
		Name: p.name, Version: p.version, Roles: slices.Clone(p.roles),
		Generation: p.served, Digest: p.digest, Revision: p.settings.Revision,
		Restarts: p.restarts, Hangs: p.hangs,
		Calls: p.calls.Load(), Failures: p.failures.Load(), Retries: p.retries.Load(),
		Rejected: p.rejected.Load(), LogLost: p.linesLost.Load(),
		LastError: p.lastErr, NextStart: p.next,
		Material: make(map[fault.Role]Origin, len(p.material)),
	}
	if p.current != nil {
		s.PID = p.current.pid()
	}
	for r, o := range p.material {
		s.Material[r] = o
	}
	return s
}
