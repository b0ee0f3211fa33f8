package plugin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// An instance is one running plugin process with the connection to it: a generation.
type instance struct {
	generation uint64
	began      time.Time
	image      *image   // nil when attached
	proc       *process // nil when attached
	dir        string   // private folder of the socket
	limits     Limits
	logs       *logReader
	log        hclog.Logger

	conn      *grpc.ClientConn
	lifecycle pluginpb.LifecycleClient
	trust     pluginpb.TrustClient
	identity  pluginpb.IdentityClient
	key       pluginpb.KeyClient

	name, version string
	offers        []fault.Role // that it can have
	roles         []fault.Role // that it has; guarded by Plugin.mu once in service
	revision      uint64       // likewise
	since         time.Time    // in service; written before it is, read by the supervisor

	ctx    context.Context // ends when the instance is given up
	cancel context.CancelFunc
	tasks  sync.WaitGroup // heartbeat, output stream

	dead     chan struct{} // closed when it no longer serves
	deadOnce sync.Once
	cause    error // why; guarded by the close of dead
	hung     bool  // likewise
	probe    chan struct{}

	uses     sync.WaitGroup // calls under way
	answered atomic.Bool    // a call of a role
	proof    proofs         // of possession, for keys seen in this generation
}

// launch starts a process, shakes hands, and asks it what it is. ctx and Limits.Start bound it. Nothing is
// left behind after an error.
func launch(ctx context.Context, im *image, c *Config, generation uint64, logs *logReader, log hclog.Logger) (_ *instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Limits.Start)
	defer cancel()
	ctx, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	in := newInstance(generation, c.Limits, logs, log)
	in.image, in.proc = im, newProcess(c, logs)
	defer func() {
		if err != nil {
			in.stop(true)
		}
	}()
	own, pem, err := hostCertificate("federation host")
	if err != nil {
		return nil, fmt.Errorf("plugin: certificate for the socket: %w", err)
	}
	if in.dir, err = socketDir(c.TempDir); err != nil {
		return nil, fmt.Errorf("plugin: a folder for the socket (TempDir): %w: %w", fault.ErrUnavailable, err)
	}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: cookieKey, MagicCookieValue: cookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{protocolVersion: {}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			cmd.Env = append(cmd.Env, "PLUGIN_CLIENT_CERT="+string(pem), logLevelKey+"="+levelName(log))
			in.proc.prepare(im, c, cmd, dir)
			return in.proc, nil
		},
		StartTimeout:     c.Limits.Start,
		SkipHostEnv:      true,
		TLSConfig:        &tls.Config{MinVersion: tls.VersionTLS13}, // for go-plugin's eyes; the connection is ours
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: in.dir},
	})
	// Start takes no context: it returns once the process is gone.
	abort := context.AfterFunc(ctx, func() { _ = in.proc.Kill(context.Background()) })
	addr, err := client.Start()
	if !abort() || err != nil {
		return nil, in.startError(ctx, err)
	}
	if err := in.connect(addr, clientTLS(own, in.proc.shake.certificate, refuse)); err != nil {
		return nil, in.startError(ctx, err)
	}
	if err := in.greet(ctx); err != nil {
		return nil, in.startError(ctx, err)
	}
	in.tasks.Go(in.heartbeat)
	in.tasks.Go(func() {
		<-in.proc.exited
		in.giveUp(fmt.Errorf("the process ended: %w", in.proc.err), false)
	})
	return in, nil
}

func newInstance(generation uint64, l Limits, logs *logReader, log hclog.Logger) *instance {
	in := &instance{
		generation: generation, began: time.Now(), limits: l, logs: logs, log: log,
		dead: make(chan struct{}), probe: make(chan struct{}, 1),
	}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	return in
}

// connect makes the connection. Nothing is sent yet.
func (in *instance) connect(addr net.Addr, config *tls.Config) (err error) {
	in.conn, err = grpc.NewClient("passthrough:///plugin",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, addr.Network(), addr.String())
		}),
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithAuthority("localhost"),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: in.limits.Start,
		}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(in.limits.Message),
			grpc.MaxCallSendMsgSize(in.limits.Message),
		),
		grpc.WithMaxHeaderListSize(64<<10),
	)
	if err != nil {
		return err
	}
	in.lifecycle = pluginpb.NewLifecycleClient(in.conn)
	in.trust = pluginpb.NewTrustClient(in.conn)
	in.identity = pluginpb.NewIdentityClient(in.conn)
	in.key = pluginpb.NewKeyClient(in.conn)
	return nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// greet takes what the plugin says of itself, and looks whether it is well.
func (in *instance) greet(ctx context.Context) error {
	if err := in.health(ctx); err != nil {
		return fmt.Errorf("its health service: %w", err)
	}
	in.tasks.Go(in.drainOutput)
	info, err := in.lifecycle.Info(ctx, &pluginpb.InfoRequest{})
	if err != nil {
		_, err = fromStatus(err, in.logs.redact)
		return fmt.Errorf("Info: %w", err)
	}
	in.name, in.version, in.offers = info.Name, clean(info.Version), fromRoles(info.Roles)
	switch {
	case !validName.MatchString(in.name):
		return fmt.Errorf("%w: its name %q is not 1 to 64 letters, digits, '.', '_' or '-'", fault.ErrMaterial, clean(in.name))
	case len(info.Version) > 64:
		return fmt.Errorf("%w: its version has %d characters, at most 64 are allowed", fault.ErrMaterial, len(info.Version))
	case len(in.offers) == 0:
		return fmt.Errorf("%w: it offers no role that this node knows", fault.ErrUnsupported)
	}
	return nil
}

// configure puts a configuration in force and returns the roles that it gives.
func (in *instance) configure(ctx context.Context, s Settings) ([]fault.Role, error) {
	answer, err := in.lifecycle.Configure(ctx, &pluginpb.ConfigureRequest{Configuration: toConfiguration(s)})
	if err != nil {
		// Its ancestry is kept for call, which asks whether the process is gone.
		_, said := fromStatus(err, redactor(s.Secrets))
		return nil, &wireError{fmt.Errorf("plugin %s: configure: %w", in.name, said), err}
	}
	roles := fromRoles(answer.Roles)
	for _, r := range roles {
		if !slices.Contains(in.offers, r) {
			return nil, fmt.Errorf("plugin %s: configure: %w: it has the role %s now, which it did not offer",
				in.name, fault.ErrMaterial, r)
		}
	}
	if len(roles) == 0 {
		return nil, fmt.Errorf("plugin %s: configure: %w: the configuration gives it no role", in.name, fault.ErrConfig)
	}
	return roles, nil
}

// validate asks whether a configuration can work.
func (in *instance) validate(ctx context.Context, s Settings) error {
	_, err := in.lifecycle.Validate(ctx, &pluginpb.ValidateRequest{Configuration: toConfiguration(s)})
	return err
}

// startError says why a plugin did not start, with the last lines of its log.
func (in *instance) startError(ctx context.Context, err error) error {
	const noAnswer = "no answer"
	name, late := "plugin", noAnswer
	if in.proc != nil {
		name = "plugin " + in.proc.name
		// What the line says is worth more than what go-plugin makes of it.
		select {
		case <-in.proc.seen:
			if bad := in.proc.bad; bad != nil && in.proc.pid > 0 {
				err = in.ended(bad)
			}
		default:
		}
		if !in.proc.shook() {
			late = "no handshake line (with its line break, and flushed) on its standard output"
		}
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, fault.ErrPermission) { // another certificate
		err, cause = cause, nil
	}
	is := fault.ErrUnavailable
	for _, s := range []error{fault.ErrConfig, fault.ErrMaterial, fault.ErrPermission, fault.ErrUnsupported} {
		if errors.Is(err, s) {
			is = s
		}
	}
	if cause == nil && strings.Contains(err.Error(), "timeout while waiting for plugin") {
		cause = context.DeadlineExceeded // go-plugin's own timer, set to the same limit, rang first
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		if err != nil && late == noAnswer || errors.Is(err, errNoLineBreak) { // which step, and what the last attempt to connect found
			cause = fmt.Errorf("%w (%w)", cause, err)
		}
		return fmt.Errorf("%s: start: %w: %s within %v: %w%s", name, is, late, in.patience(ctx), cause, in.said())
	}
	if cause != nil {
		return fmt.Errorf("%s: start: %w: %w%s", name, is, cause, in.said())
	}
	if errors.Is(err, is) {
		return fmt.Errorf("%s: start: %w%s", name, err, in.said())
	}
	return fmt.Errorf("%s: start: %w: %w%s", name, is, err, in.said())
}

// patience is how long the start was given: Limits.Start, or less where the caller's context ends sooner.
func (in *instance) patience(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return end.Sub(in.began).Round(time.Millisecond)
	}
	return in.limits.Start
}

// ended adds how the process ended, if it did so by itself.
func (in *instance) ended(err error) error {
	select {
	case <-in.proc.exited:
		if in.proc.killed() {
			return err
		}
		return fmt.Errorf("%w (%w)", err, in.proc.err)
	case <-time.After(pipeGrace):
		return err
	}
}

func (in *instance) said() string {
	if last := in.logs.last(); last != "" {
		return "; it said: " + last
	}
	return ""
}

// giveUp marks the instance as dead, once.
func (in *instance) giveUp(cause error, hung bool) {
	in.deadOnce.Do(func() {
		in.cause, in.hung = cause, hung
		close(in.dead)
	})
}

func (in *instance) isDead() bool {
	select {
	case <-in.dead:
		return true
	default:
		return false
	}
}

func (in *instance) pid() int {
	if in.proc == nil {
		return 0
	}
	return in.proc.pid
}

func (in *instance) digest() string {
	if in.image == nil {
		return ""
	}
	return in.image.digest
}

// stop ends the process and waits for everything that belongs to it: politely first unless now is set. It
// takes Limits.Stop for that at most, and as long again for a process that the kernel does not end.
func (in *instance) stop(now bool) {
	in.giveUp(fmt.Errorf("stopped: %w", fault.ErrClosed), false)
	if in.proc != nil && in.proc.pid > 0 {
		if !now {
			in.askToStop()
		}
		_ = in.proc.Kill(context.Background())
	}
	in.cancel()
	if in.conn != nil {
		_ = in.conn.Close()
	}
	if in.proc != nil && in.proc.pid > 0 {
		// A process that the kernel cannot end is left to it.
		select {
		case <-in.proc.exited:
		case <-time.After(in.limits.Stop):
			in.log.Error("the plugin's process does not end", "pid", in.proc.pid)
			go func() { // what belongs to it goes when it does
				<-in.proc.exited
				in.clear()
			}()
			return
		}
	}
	in.clear()
}

// clear waits for the goroutines and removes the folder.
func (in *instance) clear() {
	in.tasks.Wait()
	if in.dir != "" {
		_ = os.RemoveAll(in.dir)
	}
}

// askToStop asks by gRPC, then by signal, and waits up to Limits.Stop.
func (in *instance) askToStop() {
	ctx, cancel := context.WithTimeout(context.Background(), in.limits.Stop)
	defer cancel()
	if err := in.shutdown(ctx); err != nil {
		in.proc.terminate()
	}
	select {
	case <-in.proc.exited:
	case <-ctx.Done():
		in.log.Warn("the plugin did not stop when asked, and was killed", "pid", in.proc.pid, "after", in.limits.Stop)
	}
}

func levelName(l hclog.Logger) string {
	level := l.GetLevel()
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	return strings.ToLower(level.String())
}
