package plugin

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/alphaonedev/federation/internal/fault"
)

// The handshake: that of go-plugin, with these values. They are no secret; they keep a plugin from being
// started by mistake.
const (
	cookieKey       = "FEDERATION_PLUGIN"
	cookieValue     = "federation.plugin.v1"
	protocolVersion = 1
	logLevelKey     = "FEDERATION_PLUGIN_LOG" // the level that the host's log has, so that none is sent in vain
)

// serverMessage is the largest message that a Go plugin takes: what a host's Limits.Message is by default.
const serverMessage = 16 << 20

// Serve is Serve of this package with what s says.
func (s *Server) Serve() {
	if os.Getenv(cookieKey) != cookieValue {
		fmt.Fprintf(os.Stderr, "%s is a plugin for a federation node. It is started by the node, not by hand:\n"+
			"name it in plugin.Config, or check it with plugincheck.\n", filepath.Base(os.Args[0]))
		os.Exit(2)
	}
	logger := hclog.New(&hclog.LoggerOptions{
		Level:      hclog.LevelFromString(os.Getenv(logLevelKey)),
		Output:     os.Stderr, // as it is before go-plugin replaces it
		JSONFormat: true,
	})
	log.SetFlags(0)
	log.SetOutput(logger.StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true}))
	b := newBackend(s.withDefaults(), logger)
	go exitWithHost(os.Getppid())
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion:  protocolVersion,
			MagicCookieKey:   cookieKey,
			MagicCookieValue: cookieValue,
		},
		VersionedPlugins: map[int]goplugin.PluginSet{
			protocolVersion: {"federation": &grpcPlugin{b: b}},
		},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, serverOptions(logger)...)...)
		},
		Logger: logger.Named("go-plugin"),
	})
	b.close()
	os.Exit(0)
}

func (s *Server) withDefaults() *Server {
	d := *s
	if d.Name == "" {
		d.Name = filepath.Base(os.Args[0])
	}
	if d.Version == "" {
		d.Version = "unknown"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
			d.Version = info.Main.Version
		}
	}
	if len(d.Roles) == 0 {
		d.Roles = []fault.Role{fault.RoleTrust, fault.RoleIdentity, fault.RoleKey}
	}
	return &d
}

// grpcPlugin is how go-plugin knows our services.
type grpcPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	b *backend
}

func (p *grpcPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	p.b.register(s)
	return nil
}

func (p *grpcPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, status.Error(codes.Unimplemented, "this side only serves")
}

// exitWithHost ends the process when its parent is gone. On Linux the host also has the kernel see to it.
func exitWithHost(parent int) {
	for range time.Tick(time.Second) {
		if os.Getppid() != parent {
			os.Exit(3)
		}
	}
}

// serverOptions bound messages, give calls the logger, and turn a handler's panic into an error.
func serverOptions(logger hclog.Logger) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(serverMessage),
		grpc.MaxSendMsgSize(serverMessage),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
			defer recovered(logger, info.FullMethod, &err)
			return next(withLogger(ctx, logger), req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
			defer recovered(logger, info.FullMethod, &err)
			return next(srv, loggedStream{s, withLogger(s.Context(), logger)})
		}),
	}
}

// recovered makes an error of a panic. The stack goes to the log; the value, which may hold anything, nowhere.
func recovered(logger hclog.Logger, method string, err *error) {
	if r := recover(); r != nil {
		logger.Error("panic in a provider", "method", method, "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Unavailable, "panic in the plugin (%T) during %s; its log has the stack", r, method)
	}
}

// safely calls f and makes an error of a panic.
func safely(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic in the provider (%T)", fault.ErrUnavailable, r)
		}
	}()
	return f()
}

type loggerKey struct{}

func withLogger(ctx context.Context, l hclog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey{}, l)
}

// A loggedStream is a stream whose context has the logger.
type loggedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s loggedStream) Context() context.Context { return s.ctx }

// Logger returns the logger of the plugin whose Configure, or a method of whose providers, was called with ctx.
// What it writes reaches the host's log with its level. Any other context gives a silent one.
func Logger(ctx context.Context) hclog.Logger {
	if l, ok := ctx.Value(loggerKey{}).(hclog.Logger); ok {
		return l
	}
	return hclog.NewNullLogger()
}
