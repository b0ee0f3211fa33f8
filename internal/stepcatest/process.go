package stepcatest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
)

// Build builds the step-ca command of the module github.com/smallstep/certificates, without the hardware keys that need
// cgo, unless it is in the user's cache folder already, and returns its path. It takes minutes when nothing is cached.
func Build(ctx context.Context) (string, error) {
	module, path, err := command(ctx)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(fresh)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", fresh, "-tags", "nopkcs11,noyubikey", "github.com/smallstep/certificates/cmd/step-ca")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("stepcatest: go build: %w\n%s", err, out)
	}
	return path, os.Rename(fresh, path)
}

// Command returns the path of the command, for a test that is skipped where it has not been built.
func Command(t testing.TB) string {
	t.Helper()
	_, path, err := command(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("FEDERATION_NO_SKIP") != "" {
			t.Fatal("the step-ca command is not built; run: go run ./internal/stepcatest/build")
		}
		t.Skip("skipped: the step-ca command is not built; run: go run ./internal/stepcatest/build (or make test)")
	}
	return path
}

// command returns the folder of the module that the command is built in, and where it is kept.
func command(ctx context.Context) (module, path string, err error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/alphaonedev/federation").Output()
	if err != nil {
		return "", "", fmt.Errorf("stepcatest: go list: %w", err)
	}
	module = filepath.Join(strings.TrimSpace(string(root)), "internal", "stepcatest", "command")
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(strings.TrimSpace(string(root)), ".cache")
	}
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		raw, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", "", err
		}
		h.Write(raw)
	}
	fmt.Fprintln(h, runtime.GOOS, runtime.GOARCH)
	path = filepath.Join(cache, "federation-test", fmt.Sprintf("step-ca-%x", h.Sum(nil)[:6]))
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	return module, path, nil
}

// A Process is the step-ca command over a CA's configuration.
type Process struct {
	cmd  *exec.Cmd
	log  *buffer
	done chan error
	stop sync.Once
}

// StartProcess starts the command at path with what the CA's fields say, at the same address, and returns once it answers.
// The CA itself must be stopped. Options.Wrap and Requests have no part in it.
func (ca *CA) StartProcess(ctx context.Context, path string) (*Process, error) {
	file, err := ca.writeConfig()
	if err != nil {
		return nil, err
	}
	p := &Process{log: new(buffer), done: make(chan error, 1)}
	p.cmd = exec.Command(path, file)
	p.cmd.Dir = ca.dir
	p.cmd.Env = []string{"HOME=" + ca.dir, "STEPPATH=" + ca.dir}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // only whether somebody answers
	for {
		if conn, err := dialer.DialContext(ctx, "tcp", ca.Addr); err == nil {
			conn.Close()
			return p, nil
		}
		select {
		case err := <-p.done:
			return nil, fmt.Errorf("stepcatest: step-ca ended: %v\n%s", err, p.log)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.Stop())
		case <-tick.C:
		}
	}
}

// Stop ends the process and waits for it. It may be called twice.
func (p *Process) Stop() error {
	p.stop.Do(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return nil
}

// writeConfig writes ca.json and what it names.
func (ca *CA) writeConfig() (string, error) {
	cfg := ca.config()
	write := func(name string, raw []byte) string {
		path := filepath.Join(ca.dir, name)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			panic(err)
		}
		return path
	}
	var err error
	file := func() (file string) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("stepcatest: %v", p)
			}
		}()
		var roots []string
		for i, r := range ca.Roots {
			roots = append(roots, write(fmt.Sprintf("root-%d.crt", i), r.PEM()))
		}
		chain := ca.Issuer.Issue(must{}, sdktest.Leaf{}).Chain[1:]
		cfg["root"] = roots
		cfg["crt"] = write("intermediates.crt", sdktest.CertPEM(chain...))
		cfg["key"] = write("intermediate.key", sdktest.KeyPEM(must{}, ca.Issuer.Key))
		raw, jerr := json.MarshalIndent(cfg, "", "\t")
		if jerr != nil {
			panic(jerr)
		}
		return write("ca.json", raw)
	}()
	return file, err
}

// A buffer is a bytes.Buffer for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
