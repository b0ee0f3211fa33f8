package plugin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/alphaonedev/federation/internal/fault"
)

// attachment is the text by which a host finds a provider that a person started.
type attachment struct {
	Address string `json:"address"`
	Server  []byte `json:"server"` // certificate, DER
	Client  []byte `json:"client"` // certificate, DER
	Key     []byte `json:"key"`    // PKCS #8
}

// Debug serves the plugin in this process, on a loopback address, until ctx ends, so that it can run in a
// debugger. It first writes one line to w: the text for Config.Attach, which is as good as a password.
func (s *Server) Debug(ctx context.Context, w io.Writer, logger hclog.Logger) error {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	server, _, err := hostCertificate("federation plugin")
	if err != nil {
		return fmt.Errorf("plugin: debug: %w", err)
	}
	client, _, err := hostCertificate("federation host")
	if err != nil {
		return fmt.Errorf("plugin: debug: %w", err)
	}
	known, err := x509.ParseCertificate(client.Certificate[0])
	if err != nil {
		return fmt.Errorf("plugin: debug: %w", err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	if err != nil {
		return fmt.Errorf("plugin: debug: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("plugin: debug: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(known)
	g := grpc.NewServer(append(serverOptions(logger), grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{server},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
	})))...)
	h := health.NewServer()
	h.SetServingStatus(healthName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, h)
	b := newBackend(s.withDefaults(), logger)
	b.register(g)
	defer b.close()
	defer context.AfterFunc(ctx, g.Stop)()
	text, err := json.Marshal(attachment{
		Address: l.Addr().String(), Server: server.Certificate[0], Client: client.Certificate[0], Key: key,
	})
	if err != nil {
		return fmt.Errorf("plugin: debug: %w", err)
	}
	if _, err := fmt.Fprintln(w, base64.RawURLEncoding.EncodeToString(text)); err != nil {
		l.Close()
		return fmt.Errorf("plugin: debug: %w", err)
	}
	if err := g.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("plugin: debug: %w", err)
	}
	return nil
}

// attach connects to a provider that Debug serves.
func attach(ctx context.Context, c *Config, generation uint64, logs *logReader, log hclog.Logger) (*instance, error) {
	bad := func(err error) (*instance, error) {
		return nil, fmt.Errorf("plugin: %w", &fault.ConfigError{Field: "Attach", Err: fmt.Errorf("not a line that Debug wrote: %w", err)})
	}
	text, err := base64.RawURLEncoding.DecodeString(c.Attach)
	if err != nil {
		return bad(err)
	}
	var a attachment
	if err := json.Unmarshal(text, &a); err != nil {
		return bad(err)
	}
	server, err := x509.ParseCertificate(a.Server)
	if err != nil {
		return bad(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return bad(err)
	}
	addr, err := net.ResolveTCPAddr("tcp", a.Address)
	if err != nil {
		return bad(err)
	}
	if !addr.IP.IsLoopback() {
		return bad(fmt.Errorf("%s is no loopback address", addr))
	}
	in := newInstance(generation, c.Limits, logs, log)
	own := tls.Certificate{Certificate: [][]byte{a.Client}, PrivateKey: key}
	if err = in.connect(addr, clientTLS(own, server, func(error) {})); err == nil {
		err = in.greet(ctx)
	}
	if err != nil {
		err = in.startError(ctx, err)
		in.stop(true)
		return nil, err
	}
	in.tasks.Go(in.heartbeat)
	return in, nil
}
