package vaulttest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/testport"
	"github.com/alphaonedev/federation/internal/vaulttest/vaultbin"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A Server is a Vault process, initialised and unsealed.
type Server struct {
	URL   string // https://127.0.0.1:port, the same after a restart
	Root  string // the root token
	Roots []*x509.Certificate
	Older bool // it is Vault 1.16, which is chosen by FEDERATION_VAULT=older; otherwise it is 1.21

	ca        *sdktest.CA
	bin, dir  string
	unsealKey string

	mu  sync.Mutex
	cmd *exec.Cmd
	out *lockedBuffer
}

// Start starts a server that is stopped when the test ends. Its storage is on disk, so that Kill and Start
// again keep it. The test is skipped where the server has not been built.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := vaultbin.Path()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		if os.Getenv("FEDERATION_NO_SKIP") != "" {
			t.Fatal("the Vault server for tests is not built; run: go run ./internal/vaulttest/build")
		}
		t.Skip("skipped: the Vault server for tests is not built; run: go run ./internal/vaulttest/build (or make test)")
	}
	dir, err := os.MkdirTemp("", "vaulttest")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{bin: bin, dir: dir, Older: vaultbin.Older(), ca: sdktest.NewCA(t, sdktest.CAOptions{Name: "Vault's own TLS"})}
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	s.Roots = []*x509.Certificate{s.ca.Certificate}
	leaf := s.ca.Issue(t, sdktest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, DNS: []string{"localhost"}})
	for name, data := range map[string][]byte{"cert.pem": leaf.CertPEM(), "key.pem": leaf.KeyPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listen, err := testport.Pick()
	if err != nil {
		t.Fatal(err)
	}
	s.launch(t, listen)
	s.initialise(t)
	return s
}

// launch starts the process and waits for the line that says where it listens.
func (s *Server) launch(t testing.TB, listen string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = &lockedBuffer{}
	s.cmd = exec.Command(s.bin, "-listen", listen, "-data", filepath.Join(s.dir, "data"),
		"-cert", filepath.Join(s.dir, "cert.pem"), "-key", filepath.Join(s.dir, "key.pem"), "-level", "error")
	s.cmd.Env = []string{"HOME=" + s.dir, "TMPDIR=" + s.dir}
	s.cmd.Stderr = s.out
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = s.cmd.Wait()
		t.Fatalf("the Vault server did not start: %v\n%s", err, s.out)
	}
	if url := strings.TrimSpace(line); url != s.URL { // written once: others read it
		s.URL = url
	}
}

func (s *Server) initialise(t testing.TB) {
	t.Helper()
	init, err := s.Client(t).Sys().InitWithContext(t.Context(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatalf("init: %v\n%s", err, s.Output())
	}
	s.Root, s.unsealKey = init.RootToken, init.Keys[0]
	s.Unseal(t)
}

// Client returns an official client with the root token.
func (s *Server) Client(t testing.TB) *api.Client {
	t.Helper()
	cfg := &api.Config{Address: s.URL, HttpClient: s.HTTPClient(), Timeout: time.Minute, MaxRetries: 0}
	c, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(s.Root)
	return c
}

// HTTPClient trusts the server's certificate.
func (s *Server) HTTPClient() *http.Client {
	pool := x509.NewCertPool()
	for _, c := range s.Roots {
		pool.AddCert(c)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.Proxy = nil
	tr.TLSClientConfig.RootCAs = pool
	tr.DisableKeepAlives = true // nothing to close afterwards
	return &http.Client{Transport: tr}
}

// Unseal unseals the server and waits until it serves.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := s.Client(t)
	if _, err := c.Sys().UnsealWithContext(ctx, s.unsealKey); err != nil {
		t.Fatalf("unseal: %v\n%s", err, s.Output())
	}
	for {
		h, err := c.Sys().HealthWithContext(ctx)
		if err == nil && h.Initialized && !h.Sealed && !h.Standby {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not active after unsealing: %v %+v\n%s", err, h, s.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Seal seals the server: every request is answered 503 until Unseal.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	if err := s.Client(t).Sys().SealWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Kill kills the process, as a crash would. It does nothing if it is dead.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Restart starts the process again after Kill, at the same address and with the same data, and unseals it.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	s.launch(t, strings.TrimPrefix(s.URL, "https://"))
	s.Unseal(t)
}

// Backup copies the server's storage. The returned function puts the copy back. The server is restarted for each.
func (s *Server) Backup(t testing.TB) (restore func(t testing.TB)) {
	t.Helper()
	data, kept := filepath.Join(s.dir, "data"), filepath.Join(t.TempDir(), "data")
	replace := func(t testing.TB, to, from string) {
		t.Helper()
		s.Kill()
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
			t.Fatal(err)
		}
		s.Restart(t)
	}
	replace(t, kept, data)
	return func(t testing.TB) { t.Helper(); replace(t, data, kept) }
}

// Output returns what the process has logged.
func (s *Server) Output() string { return s.out.String() }

// Write writes to a path with the root token and returns the data of the answer.
func (s *Server) Write(t testing.TB, path string, data map[string]any) map[string]any {
	t.Helper()
	secret, err := s.Client(t).Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	if secret == nil {
		return nil
	}
	return secret.Data
}

// Read reads a path with the root token.
func (s *Server) Read(t testing.TB, path string) map[string]any {
	t.Helper()
	secret, err := s.Client(t).Logical().ReadWithContext(t.Context(), path)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	if secret == nil {
		t.Fatalf("read %s: nothing there", path)
	}
	return secret.Data
}

// Delete deletes a path with the root token.
func (s *Server) Delete(t testing.TB, path string) {
	t.Helper()
	if _, err := s.Client(t).Logical().DeleteWithContext(t.Context(), path); err != nil {
		t.Fatalf("delete %s: %v", path, err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// String describes the server without its token.
func (s *Server) String() string { return fmt.Sprintf("vault at %s", s.URL) }
