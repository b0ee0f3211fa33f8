package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/alphaonedev/federation/sdk/plugin"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// A target is the plugin under test and how to start it.
type target struct {
	path     string
	args     []string
	env      []string
	settings map[string]string
	secrets  map[string]plugin.Secret
	start    time.Duration
	cycles   int
	rotate   string

	name, version string // once Info has answered

	mu      sync.Mutex
	said    bytes.Buffer // everything that the raw processes have written or answered with an error
	markers []string     // secrets of configurations that must be refused
}

// note keeps text for the rule about secrets.
func (t *target) note(text string) {
	const most = 32 << 20
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said.Len() < most {
		t.said.WriteString(text + "\n")
	}
}

// redact takes the secrets out of what is printed.
func (t *target) redact(s string) string {
	for _, v := range t.secrets {
		if len(v) >= 4 {
			s = strings.ReplaceAll(s, string(v), "[secret]")
		}
	}
	return s
}

// configuration is the one under test, with a revision.
func (t *target) configuration(revision uint64) *pluginpb.Configuration {
	c := &pluginpb.Configuration{
		Settings: map[string]string{}, Secrets: map[string][]byte{}, Revision: revision, InstanceId: "plugincheck",
	}
	for k, v := range t.settings {
		c.Settings[k] = v
	}
	for k, v := range t.secrets {
		c.Secrets[k] = []byte(v)
	}
	return c
}

// config is the same for plugin.Open.
func (t *target) config() plugin.Config {
	c := plugin.Config{
		Path: t.path, Args: t.args, Env: t.env, Unpinned: true,
		Settings: t.settings, Secrets: t.secrets, InstanceID: "plugincheck",
	}
	c.Limits.Start = t.start
	return c
}

// A process is the plugin, started by hand: the second opinion beside plugin.Open.
type process struct {
	t       *target
	cmd     *exec.Cmd
	dir     string
	own     tls.Certificate
	ownPEM  []byte
	line    string
	network string
	address string
	cert    *x509.Certificate
	conn    *grpc.ClientConn

	ended  chan struct{}
	err    error
	stderr *lockedBuffer
}

// A lockedBuffer keeps the first 8 MiB.
type lockedBuffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	all int // octets written
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all += len(b)
	if l.b.Len() < 8<<20 {
		l.b.Write(b)
	}
	return len(b), nil
}

// written is how many octets came, kept or not.
func (l *lockedBuffer) written() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tail is the end of what the plugin wrote to standard error.
func (p *process) tail() string {
	s := strings.TrimSpace(p.stderr.String())
	if len(s) > 600 {
		s = "…" + s[len(s)-600:]
	}
	if s == "" {
		return ""
	}
	return "; its standard error: " + s
}

// socketDir makes a private folder for a socket as a node does: its path is the one without symbolic links, and short
// enough (104 octets with the socket's name, on some systems) wherever the folder for temporary files is.
func socketDir() (string, error) {
	base := os.TempDir()
	if runtime.GOOS != "windows" && len(base) > 44 {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "pc")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// spawn starts the process and reads the first line.
func (t *target) spawn(ctx context.Context) (_ *process, err error) {
	p := &process{t: t, ended: make(chan struct{}), stderr: &lockedBuffer{}}
	if p.dir, err = socketDir(); err != nil {
		return nil, err
	}
	if p.own, p.ownPEM, err = certificate(); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(t.path, t.args...)
	p.cmd.Dir = string(filepath.Separator)
	p.cmd.Env = append([]string{
		"FEDERATION_PLUGIN=federation.plugin.v1",
		"FEDERATION_PLUGIN_LOG=trace",
		"PLUGIN_PROTOCOL_VERSIONS=1",
		"PLUGIN_MIN_PORT=10000",
		"PLUGIN_MAX_PORT=25000",
		"PLUGIN_UNIX_SOCKET_DIR=" + p.dir,
		"PLUGIN_CLIENT_CERT=" + string(p.ownPEM),
	}, t.env...)
	p.cmd.Stderr = p.stderr
	p.cmd.WaitDelay = time.Second
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		out.Close()
		os.RemoveAll(p.dir)
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	lines := make(chan string, 1)
	go func() {
		defer out.Close()
		r := bufio.NewReader(out)
		line, err := r.ReadString('\n')
		if err != nil {
			line += "\x00" // no line break
		}
		lines <- line
		rest := &lockedBuffer{}
		_, _ = io.Copy(rest, r)
		t.note(rest.String())
	}()
	timer := time.NewTimer(t.start)
	defer timer.Stop()
	select {
	case p.line = <-lines:
	case <-timer.C:
		err = fmt.Errorf("no line on standard output within %v; is it flushed?%s", t.start, p.tail())
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		err = p.parse()
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// parse takes the handshake line apart.
func (p *process) parse() error {
	line, ok := strings.CutSuffix(p.line, "\n")
	if !ok {
		return fmt.Errorf("standard output ended after %q, without a line break%s", strings.TrimSuffix(p.line, "\x00"), p.tail())
	}
	f := strings.Split(strings.TrimRight(line, "\r"), "|")
	switch {
	case len(f) < 6:
		return fmt.Errorf("the first line on standard output is %q, which is not the handshake line", line)
	case f[0] != "1" || f[1] != "1" || f[4] != "grpc":
		return fmt.Errorf("the handshake line is %q; want it to begin with 1|1 and its fifth field to be grpc", line)
	}
	p.network, p.address = f[2], f[3]
	switch {
	case p.network != "unix" && runtime.GOOS != "windows":
		return fmt.Errorf("it listens on %q; want a unix socket in PLUGIN_UNIX_SOCKET_DIR", p.network)
	case p.network == "unix":
		if rel, err := filepath.Rel(p.dir, p.address); err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("the socket %q does not lie in PLUGIN_UNIX_SOCKET_DIR", p.address)
		}
	}
	der, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(f[5], "="))
	if err != nil {
		return fmt.Errorf("field 6 of the handshake line is no base64: %w", err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("field 6 of the handshake line is no certificate: %w", err)
	}
	return nil
}

// callBound is what a node grants one call: the default of Limits.Call.
const callBound = 30 * time.Second

// bounded ends a call that the plugin does not answer, so that one that hangs, or is gone, fails each rule soon.
func (p *process) bounded(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	within, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	go func() {
		select {
		case <-p.ended:
			cancel()
		case <-within.Done():
		}
	}()
	err := invoke(within, method, req, reply, cc, opts...)
	switch {
	case err == nil || within.Err() == nil || ctx.Err() != nil:
		return err
	case errors.Is(within.Err(), context.Canceled):
		return status.Error(codes.Unavailable, "the process has ended")
	}
	return status.Errorf(codes.DeadlineExceeded, "no answer within %v", callBound)
}

// dial connects with a TLS configuration; nil is plaintext.
func (p *process) dial(creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///plugin",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, p.network, p.address)
		}),
		grpc.WithTransportCredentials(creds), grpc.WithAuthority("localhost"), grpc.WithDisableRetry(),
		grpc.WithUnaryInterceptor(p.bounded))
}

// tls is what the host uses: own certificate, and none but the plugin's accepted.
func (p *process) tls(own *tls.Certificate) credentials.TransportCredentials {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: "localhost", InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, p.cert.Raw) {
				return errors.New("the socket shows another certificate than the handshake line")
			}
			return nil
		},
	}
	if own != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return credentials.NewTLS(c)
}

// raw starts the plugin and connects to it.
func (t *target) raw(ctx context.Context) (*process, error) {
	p, err := t.spawn(ctx)
	if err != nil {
		return nil, err
	}
	if p.conn, err = p.dial(p.tls(&p.own)); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// configured starts the plugin, connects, and configures it.
func (t *target) configured(ctx context.Context) (*process, []pluginpb.Role, error) {
	p, err := t.raw(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, err := p.configure(ctx, t.configuration(1))
	if err != nil {
		p.close()
		return nil, nil, fmt.Errorf("calling Configure: %w%s", err, p.tail())
	}
	return p, r.Roles, nil
}

func (p *process) configure(ctx context.Context, c *pluginpb.Configuration) (*pluginpb.ConfigureResponse, error) {
	r, err := pluginpb.NewLifecycleClient(p.conn).Configure(ctx, &pluginpb.ConfigureRequest{Configuration: c}, grpc.WaitForReady(true))
	return r, p.t.noted(err)
}

// noted keeps an error's text for the rule about secrets.
func (t *target) noted(err error) error {
	if err != nil {
		t.note(err.Error())
	}
	return err
}

func (p *process) shutdown(ctx context.Context) error {
	return p.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
}

// close ends the process whatever it does.
func (p *process) close() {
	if p.conn != nil {
		p.conn.Close()
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.t.note(p.stderr.String())
	os.RemoveAll(p.dir)
}
