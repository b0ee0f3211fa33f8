//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func TestTheSkeletonInGoConforms(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "skeleton")
	var out bytes.Buffer
	if status := run(context.Background(), []string{"-new", dir, "-lang", "go"}, &out, &out); status != 0 {
		t.Fatal(out.String())
	}
	// Its requirements are those of this module, which stands for the released one.
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(mod), "module github.com/alphaonedev/federation\n", "module example.com/my-plugin\n", 1) +
		"\nrequire github.com/alphaonedev/federation v0.0.0\nreplace github.com/alphaonedev/federation => " + root + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "my-plugin")
	build := exec.Command("go", "build", "-mod=mod", "-o", binary, ".")
	build.Dir = dir
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	status, _, text := runCheck(t, "-cycles", "50", "-set", "name=a.example", "-set", "state="+t.TempDir(), "-secret", "token=correct-horse", "--", binary)
	if status != 0 {
		t.Error(text)
	}
	renews(t, ".key", binary)
}

func TestTheSkeletonInPythonConforms(t *testing.T) {
	t.Parallel()
	python := pythonFor(t)
	dir := filepath.Join(t.TempDir(), "skeleton")
	var out bytes.Buffer
	if status := run(context.Background(), []string{"-new", dir, "-lang", "python"}, &out, &out); status != 0 {
		t.Fatal(out.String())
	}
	status, _, text := runCheck(t, "-cycles", "50", "-set", "name=a.example", "-set", "state="+t.TempDir(), "-secret", "token=correct-horse",
		"--", python, filepath.Join(dir, "plugin.py"))
	if status != 0 {
		t.Error(text)
	}
	renews(t, ".pem", python, filepath.Join(dir, "plugin.py"))
	// The manifest that it prints is one that a node reads.
	out.Reset()
	if status := run(context.Background(), []string{"-manifest", dir}, &out, &out); status != 0 {
		t.Fatal(out.String())
	}
	files, err := plugin.ReadManifest(&out)
	if err != nil || files["plugin.py"] == "" || files["federation_plugin.py"] == "" {
		t.Errorf("manifest: %v %v", files, err)
	}
}

// pythonFor finds an interpreter as the test of examples/plugin-python does.
func pythonFor(t *testing.T) string {
	t.Helper()
	example := filepath.Join("..", "..", "..", "examples", "plugin-python")
	venv, err := filepath.Abs(filepath.Join(example, ".venv", "bin", "python"))
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range []string{venv, "python3"} {
		path, err := exec.LookPath(python)
		if err == nil && exec.Command(path, "-c", "import grpc, cryptography, google.protobuf").Run() == nil {
			return path
		}
	}
	if os.Getenv("FEDERATION_NO_SKIP") == "" {
		t.Skip("no Python with grpcio, protobuf and cryptography; examples/plugin-python/setup makes one")
	}
	if text, err := exec.Command("sh", filepath.Join(example, "setup")).CombinedOutput(); err != nil {
		t.Fatalf("setup: %v\n%s", err, text)
	}
	return venv
}

func TestTheSkeletonInNodeConforms(t *testing.T) {
	t.Parallel()
	node, packages := nodeFor(t)
	dir := filepath.Join(t.TempDir(), "skeleton")
	var out bytes.Buffer
	if status := run(context.Background(), []string{"-new", dir, "-lang", "node"}, &out, &out); status != 0 {
		t.Fatal(out.String())
	}
	// The packages are those of the example, which has the same package-lock.json.
	if err := os.CopyFS(filepath.Join(dir, "node_modules"), os.DirFS(packages)); err != nil {
		t.Fatal(err)
	}
	status, _, text := runCheck(t, "-cycles", "50", "-set", "name=a.example", "-set", "state="+t.TempDir(), "-secret", "token=correct-horse",
		"--", node, filepath.Join(dir, "plugin.mjs"))
	if status != 0 {
		t.Error(text)
	}
	renews(t, ".pem", node, filepath.Join(dir, "plugin.mjs"))
	// The manifest has what a node needs to start it, the packages too.
	out.Reset()
	if status := run(context.Background(), []string{"-manifest", dir}, &out, &out); status != 0 {
		t.Fatal(out.String())
	}
	files, err := plugin.ReadManifest(&out)
	if err != nil || files["plugin.mjs"] == "" || files[filepath.FromSlash("node_modules/@grpc/grpc-js/package.json")] == "" {
		t.Errorf("manifest: %v %v", files, err)
	}
}

// nodeFor finds a Node and the packages of examples/plugin-node, as the test there does.
func nodeFor(t *testing.T) (node, packages string) {
	t.Helper()
	example := filepath.Join("..", "..", "..", "examples", "plugin-node")
	packages = filepath.Join(example, "node_modules")
	node, err := exec.LookPath("node")
	loads := func() bool {
		cmd := exec.Command(node, "--input-type=module", "-e", `import '@grpc/grpc-js'; import '@grpc/proto-loader';
import '@noble/curves/nist.js';
const [major, minor] = process.versions.node.split('.').map(Number);
process.exit(major > 20 || major === 20 && minor >= 19 ? 0 : 1);`)
		cmd.Dir = example
		return cmd.Run() == nil
	}
	if err == nil && loads() {
		return node, packages
	}
	if os.Getenv("FEDERATION_NO_SKIP") == "" {
		t.Skip("no Node 20.19 or later with the packages of package.json; examples/plugin-node/setup installs them")
	}
	if err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("sh", filepath.Join(example, "setup")).CombinedOutput(); err != nil {
		t.Fatalf("setup: %v\n%s", err, text)
	}
	if !loads() {
		t.Fatalf("%s is older than Node 20.19, or setup has not installed what it should", node)
	}
	return node, packages
}

// renews starts a skeleton where a process of before has left keys and a leaf. Keys are in files that end in ext: .pem
// are those in PEM.
func renews(t *testing.T, ext string, command ...string) {
	for name, tt := range map[string]struct {
		name        string
		old         time.Duration // age of a leaf that lasts 100 hours
		away        bool          // the authority
		same        bool          // it serves with the leaf of before
		least, most time.Duration // until the renewal
	}{
		"a leaf with time left":                  {"a.example", time.Hour, true, true, 60 * time.Hour, 66 * time.Hour},
		"one that is due":                        {"a.example", 90 * time.Hour, false, false, 10 * time.Hour, 16 * time.Hour},
		"one that is due, the authority away":    {"a.example", 90 * time.Hour, true, true, 5 * time.Second, time.Minute},
		"one that has ended":                     {"a.example", 101 * time.Hour, false, false, 10 * time.Hour, 16 * time.Hour},
		"one that has ended, the authority away": {"a.example", 101 * time.Hour, true, false, 0, 0},
		"one for another name":                   {"b.example", time.Hour, false, false, 10 * time.Hour, 16 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			before := leave(t, state, ext, tt.old, tt.away)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			p, err := plugin.Open(ctx, plugin.Config{
				Path: command[0], Args: command[1:], Unpinned: true, Limits: plugin.Limits{Start: time.Minute},
				Settings: map[string]string{"name": tt.name, "state": state},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			provider, err := p.Identity()
			if err != nil {
				t.Fatal(err)
			}
			id, err := provider.Identity(ctx)
			if tt.most == 0 {
				if err == nil {
					t.Error("it has an identity")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if same := bytes.Equal(id.Certificate.Certificate[0], before); same != tt.same {
				t.Errorf("the leaf is that of before: %v, want %v", same, tt.same)
			}
			if id.RefreshAfter < tt.least || id.RefreshAfter > tt.most {
				t.Errorf("to be renewed in %v, want %v to %v", id.RefreshAfter, tt.least, tt.most)
			}
			var again *sdk.Identity
			if again, err = provider.Identity(ctx); err != nil || !again.Certificate.Leaf.Equal(id.Certificate.Leaf) {
				t.Errorf("the next call: another leaf, or %v", err)
			}
		})
	}
}

// leave writes what a process of before leaves in its folder, and returns the leaf.
func leave(t *testing.T, state, ext string, old time.Duration, away bool) []byte {
	t.Helper()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(state, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := func(name string) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if ext == ".pem" {
			der = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		}
		write(name+ext, der)
		return k
	}
	rootKey, leafKey := key("root"), key("tls")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Skeleton CA"},
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(rand.Reader, template, template, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-old)
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"a.example"}, NotBefore: begin, NotAfter: begin.Add(100 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, template, leafKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	write("root.der", root)
	write("leaf", append(fmt.Appendf(nil, "a.example %x\n", sha256.Sum256(root)), leaf...))
	if away {
		write("root"+ext, []byte("no key"))
	}
	return leaf
}
