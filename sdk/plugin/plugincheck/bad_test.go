//go:build unix

package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// A badPlugin keeps every rule but the one that its mode names. "good" keeps all.
type badPlugin struct {
	mode string
	key  crypto.Signer // signs messages
	tls  crypto.Signer // that of the leaf
	root []byte
	leaf []byte
	over chan struct{}

	mu       sync.Mutex
	revision uint64
	refused  uint64
	name     string
	count    int
	broken   bool
	leaked   []*os.File
	busy     chan struct{}
}

type (
	badLifecycle struct {
		pluginpb.UnimplementedLifecycleServer
		*badPlugin
	}
	badTrust struct {
		pluginpb.UnimplementedTrustServer
		*badPlugin
	}
	badIdentity struct {
		pluginpb.UnimplementedIdentityServer
		*badPlugin
	}
	badKey struct {
		pluginpb.UnimplementedKeyServer
		*badPlugin
	}
)

// bad is main of the plugin under test.
func bad(mode string) {
	if os.Getenv("FEDERATION_PLUGIN") == "" {
		fmt.Fprintln(os.Stderr, "this is a plugin")
		if mode == "human" {
			os.Exit(0)
		}
		os.Exit(2)
	}
	switch mode {
	case "prints-first":
		fmt.Println("welcome")
		time.Sleep(time.Hour)
	case "no-flush":
		fmt.Print("1|1|unix")
		return
	case "silent":
		time.Sleep(time.Hour)
	}
	b := &badPlugin{mode: mode, over: make(chan struct{}), busy: make(chan struct{}, 1)}
	seed := sha256.Sum256([]byte("the key survives a restart"))
	if mode == "forgets" {
		_, _ = rand.Read(seed[:])
	}
	b.key = ed25519.NewKeyFromSeed(seed[:])
	b.tls = b.key
	if b.mode == "one-salt" || b.mode == "pss" {
		b.tls, _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"a.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	b.root, _ = x509.CreateCertificate(rand.Reader, template, template, b.tls.Public(), b.tls)
	template.IsCA, template.KeyUsage = false, x509.KeyUsageDigitalSignature
	b.leaf, _ = x509.CreateCertificate(rand.Reader, template, template, b.tls.Public(), b.tls)
	if err := b.serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (b *badPlugin) serve() error {
	own, _, err := certificate()
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(os.Getenv("PLUGIN_CLIENT_CERT")))
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	if b.mode == "no-client-auth" {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	network, path := "unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	if b.mode == "tcp" {
		network, path = "tcp", "127.0.0.1:0"
	}
	l, err := net.Listen(network, path)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.ChainUnaryInterceptor(b.oneAtATime))
	h := health.NewServer()
	serving := grpc_health_v1.HealthCheckResponse_SERVING
	if b.mode == "not-serving" {
		serving = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	h.SetServingStatus("plugin", serving)
	grpc_health_v1.RegisterHealthServer(s, h)
	pluginpb.RegisterLifecycleServer(s, badLifecycle{badPlugin: b})
	pluginpb.RegisterTrustServer(s, badTrust{badPlugin: b})
	pluginpb.RegisterIdentityServer(s, badIdentity{badPlugin: b})
	pluginpb.RegisterKeyServer(s, badKey{badPlugin: b})
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "plugin.GRPCController", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Shutdown", Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
			if b.mode != "deaf" {
				time.AfterFunc(20*time.Millisecond, func() { os.Exit(0) })
			}
			return &emptypb.Empty{}, nil
		}}},
	}, nil)
	if b.mode == "deaf" || b.mode == "orphan" {
		signal.Ignore(syscall.SIGTERM)
	}
	if b.mode != "orphan" {
		parent := os.Getppid()
		go func() {
			for os.Getppid() == parent {
				time.Sleep(50 * time.Millisecond)
			}
			os.Exit(3)
		}()
	}
	fmt.Printf("1|1|%s|%s|grpc|%s\n", network, l.Addr(), base64.RawStdEncoding.EncodeToString(own.Certificate[0]))
	return s.Serve(l)
}

// oneAtATime refuses calls that come while another is served.
func (b *badPlugin) oneAtATime(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if b.mode == "one-at-a-time" && strings.HasPrefix(info.FullMethod, "/federation.") {
		select {
		case b.busy <- struct{}{}:
			defer func() { <-b.busy }()
			time.Sleep(5 * time.Millisecond)
		default:
			return nil, status.Error(codes.Unavailable, "busy")
		}
	}
	return next(ctx, req)
}

var everyRole = []pluginpb.Role{pluginpb.Role_ROLE_TRUST, pluginpb.Role_ROLE_IDENTITY, pluginpb.Role_ROLE_KEY}

func (b badLifecycle) Info(context.Context, *pluginpb.InfoRequest) (*pluginpb.InfoResponse, error) {
	r := &pluginpb.InfoResponse{Name: "bad-" + b.mode, Version: "1", Roles: everyRole}
	switch b.mode {
	case "no-name":
		r.Name = ""
	case "more-roles":
		r.Roles = everyRole[:1]
	case "renamed":
		b.mu.Lock()
		defer b.mu.Unlock()
		b.count++
		r.Version = fmt.Sprint(b.count)
	case "renamed-later":
		if b.ready() == nil {
			r.Version = "2"
		}
	}
	return r, nil
}

func (b badLifecycle) Validate(_ context.Context, r *pluginpb.ValidateRequest) (*pluginpb.ValidateResponse, error) {
	switch b.mode {
	case "validates-anything":
		return &pluginpb.ValidateResponse{}, nil
	case "validates-nothing":
		return nil, status.Error(codes.InvalidArgument, "no")
	case "validates-into-force":
		b.mu.Lock()
		defer b.mu.Unlock()
		b.revision = r.Configuration.Revision
		return &pluginpb.ValidateResponse{}, nil
	}
	if _, ok := r.Configuration.Settings["no-such-setting"]; ok {
		return nil, status.Error(codes.InvalidArgument, "unknown setting")
	}
	return &pluginpb.ValidateResponse{}, nil
}

func (b badLifecycle) Configure(_ context.Context, r *pluginpb.ConfigureRequest) (*pluginpb.ConfigureResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := r.Configuration
	if b.mode == "half-applies" {
		b.name = c.Settings["name"]
	}
	for name := range c.Settings {
		if b.mode != "any-setting" && name != "name" {
			b.broken = b.mode == "drops-old"
			b.refused = c.Revision
			if b.mode == "blabs-refused" && c.Settings["name"] != "a.example" {
				return nil, status.Errorf(codes.InvalidArgument, "unknown setting %q beside %s", name, c.Secrets["token"])
			}
			return nil, status.Errorf(codes.InvalidArgument, "unknown setting %q", name)
		}
	}
	if b.mode == "counts-refused" && c.Revision <= b.refused {
		return nil, status.Error(codes.InvalidArgument, "older than what was refused")
	}
	if c.Revision < b.revision && b.mode != "any-revision" {
		return nil, status.Error(codes.InvalidArgument, "older than what is in force")
	}
	b.revision = c.Revision
	switch b.mode {
	case "leaks":
		if f, err := os.Open("/dev/null"); err == nil {
			b.leaked = append(b.leaked, f)
		}
	case "chatters":
		fmt.Fprintln(os.Stderr, strings.Repeat("chatter ", 2000))
	case "anew":
		b.count++
	case "leaks-threads":
		go func() {
			runtime.LockOSThread() // which belongs to the goroutine as long as that is there
			select {}
		}()
	case "leaks-children":
		_, _ = syscall.ForkExec("/bin/sleep", []string{"sleep", "60"}, &syscall.ProcAttr{})
	case "blabs-base64":
		fmt.Fprintln(os.Stderr, "Authorization: Basic", base64.StdEncoding.EncodeToString(append([]byte("me:"), c.Secrets["token"]...)))
	case "blabs-octets":
		fmt.Fprintln(os.Stderr, "configured with", c.Secrets["token"])
	case "blabs":
		fmt.Fprintln(os.Stderr, "configured with", string(c.Secrets["token"]))
	}
	if b.mode == "wrong-code" {
		return &pluginpb.ConfigureResponse{Roles: everyRole[:1]}, nil
	}
	return &pluginpb.ConfigureResponse{Roles: everyRole}, nil
}

// ready refuses calls before Configure.
func (b *badPlugin) ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if (b.revision == 0 && b.mode != "eager") || b.broken {
		return status.Error(codes.Unavailable, "not configured")
	}
	return nil
}

func (b badTrust) TrustBundle(context.Context, *pluginpb.TrustBundleRequest) (*pluginpb.TrustBundleResponse, error) {
	if b.mode == "no-roots" {
		return &pluginpb.TrustBundleResponse{}, b.ready()
	}
	b.mu.Lock()
	r := &pluginpb.TrustBundleResponse{Roots: [][]byte{b.root}}
	if b.mode == "anew" || b.mode == "half-applies" {
		r.Crls = [][]byte{fmt.Append(nil, b.count, b.name)} // nobody parses it here
	}
	b.mu.Unlock()
	return r, b.ready()
}

func (b badTrust) Watch(_ *pluginpb.WatchRequest, s grpc.ServerStreamingServer[pluginpb.WatchResponse]) error {
	if b.mode != "mute" {
		_ = s.Send(&pluginpb.WatchResponse{})
	}
	b.leak("keeps-watches")
	<-s.Context().Done()
	return nil
}

func (b badIdentity) Identity(context.Context, *pluginpb.IdentityRequest) (*pluginpb.IdentityResponse, error) {
	if b.mode == "wrong-code" {
		return nil, status.Error(codes.NotFound, "none")
	}
	if b.mode == "boasts" {
		r := &pluginpb.IdentityResponse{
			Chain: [][]byte{b.leaf}, Fingerprint: print(b.tls), SignatureSchemes: []uint32{uint32(tls.Ed25519), uint32(tls.ECDSAWithP384AndSHA384)},
		}
		return r, b.ready()
	}
	r := &pluginpb.IdentityResponse{Chain: [][]byte{b.leaf}, Fingerprint: print(b.tls), SignatureSchemes: []uint32{uint32(tls.Ed25519)}}
	if b.mode == "one-salt" || b.mode == "pss" {
		r.SignatureSchemes = []uint32{uint32(tls.PSSWithSHA256), uint32(tls.PSSWithSHA512)}
	}
	if b.mode == "pss" { // rsa_pss_pss_sha256 of RFC 8446, which no node uses
		r.SignatureSchemes = append([]uint32{0x0809}, r.SignatureSchemes...)
	}
	return r, b.ready()
}

func print(key crypto.Signer) []byte {
	der, _ := x509.MarshalPKIXPublicKey(key.Public())
	sum := sha256.Sum256(der)
	return sum[:]
}

// leak opens a file for ever, in its mode.
func (b *badPlugin) leak(mode string) {
	if b.mode != mode {
		return
	}
	if f, err := os.Open("/dev/null"); err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.leaked = append(b.leaked, f)
	}
}

func (b *badPlugin) sign(fingerprint, message []byte) (*pluginpb.SignResponse, error) {
	b.leak("leaks-signing")
	if _, err := os.Stat(os.Getenv("ROTATED")); err == nil && string(fingerprint) == string(print(b.key)) {
		return &pluginpb.SignResponse{Signature: make([]byte, 64)}, nil
	}
	switch {
	case b.mode == "wrong-key":
		return &pluginpb.SignResponse{Signature: make([]byte, 64)}, nil
	case string(fingerprint) != string(print(b.key)) && b.mode != "signs-anyway":
		return nil, status.Error(codes.Aborted, "another key")
	}
	sig, err := b.key.Sign(rand.Reader, message, crypto.Hash(0))
	return &pluginpb.SignResponse{Signature: sig}, err
}

func (b badIdentity) Sign(_ context.Context, r *pluginpb.IdentitySignRequest) (*pluginpb.SignResponse, error) {
	if b.mode == "pss" && string(r.Fingerprint) == string(print(b.tls)) {
		// A key that does what it declared and nothing else, as one in a vault.
		hash := map[pluginpb.Hash]crypto.Hash{pluginpb.Hash_HASH_SHA256: crypto.SHA256, pluginpb.Hash_HASH_SHA512: crypto.SHA512}[r.Hash]
		if r.Algorithm != pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_RSA_PSS || hash == 0 {
			return nil, status.Error(codes.Unimplemented, "PSS only")
		}
		sig, err := b.tls.Sign(rand.Reader, r.Input, &rsa.PSSOptions{Hash: hash, SaltLength: int(r.SaltLength)})
		return &pluginpb.SignResponse{Signature: sig}, err
	}
	if b.mode == "one-salt" {
		hash := crypto.SHA256
		if r.Hash == pluginpb.Hash_HASH_SHA512 {
			hash = crypto.SHA512
		}
		sig, err := b.tls.Sign(rand.Reader, r.Input, &rsa.PSSOptions{Hash: hash, SaltLength: 32})
		return &pluginpb.SignResponse{Signature: sig}, err
	}
	return b.sign(r.Fingerprint, r.Input)
}

func (b badKey) SigningKeys(context.Context, *pluginpb.SigningKeysRequest) (*pluginpb.SigningKeysResponse, error) {
	if b.mode == "wrong-code" {
		return nil, status.Error(codes.Unimplemented, "no such role")
	}
	return &pluginpb.SigningKeysResponse{Active: b.key.Public().(ed25519.PublicKey)}, b.ready()
}

func (b badKey) Sign(_ context.Context, r *pluginpb.KeySignRequest) (*pluginpb.SignResponse, error) {
	return b.sign(r.Fingerprint, r.Message)
}
