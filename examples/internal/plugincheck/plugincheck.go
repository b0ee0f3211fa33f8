// Package plugincheck runs the command plugincheck on a plugin, for the tests of the examples.
package plugincheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/alphaonedev/federation/examples/internal/smallca"
)

// A TB is the part of testing.TB that the package uses.
type TB interface {
	Helper()
	Cleanup(func())
	TempDir() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// Build builds a command of this module and returns its path.
func Build(t TB, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, "github.com/alphaonedev/federation/"+pkg)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// Run checks a plugin for the small certificate authority against every rule.
func Run(t TB, command ...string) {
	t.Helper()
	ca, err := smallca.Start("127.0.0.1:0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	args := append([]string{
		"-set", "url=" + ca.URL, "-set", "root-sha256=" + ca.SHA256, "-set", "name=a.example",
		"-set", "state=" + t.TempDir(), "-secret", "token=" + ca.Token, "--",
	}, command...)
	Check(t, args...)
}

// Check runs plugincheck with arguments of its own.
func Check(t TB, args ...string) {
	t.Helper()
	cmd := exec.Command(Build(t, "sdk/plugin/plugincheck"), append([]string{"-start", "1m"}, args...)...) // the machine may be busy
	text, err := cmd.CombinedOutput()
	t.Logf("%s", text)
	if err != nil {
		t.Errorf("plugincheck: %v", err)
	}
}

// known looks at files that another program will read, so that go test, which remembers what a test has looked at,
// does not take a result of before one was changed.
func known(t TB, folder string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s in %s: %v", pattern, folder, err)
		}
		for _, name := range names {
			if _, err := os.Stat(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Python returns an interpreter that has what a plugin in Python needs. Without one the test is skipped, unless
// FEDERATION_NO_SKIP is set: then setup makes one.
func Python(t TB, example string) string {
	t.Helper()
	known(t, example, "*.py", "testdata/*.py", "requirements.txt")
	venv := filepath.Join(example, ".venv", "bin", "python")
	for _, python := range []string{venv, "python3"} {
		path, err := exec.LookPath(python)
		if err == nil && exec.Command(path, "-c", "import grpc, cryptography, google.protobuf").Run() == nil {
			path, err = filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	if os.Getenv("FEDERATION_NO_SKIP") == "" {
		t.Skip("no Python with grpcio, protobuf and cryptography; examples/plugin-python/setup makes one")
	}
	if text, err := exec.Command("sh", filepath.Join(example, "setup")).CombinedOutput(); err != nil {
		t.Fatalf("setup: %v\n%s", err, text)
	}
	path, err := filepath.Abs(venv)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Node returns a Node that has what a plugin in Node needs, in the node_modules of the example. Without one the test is
// skipped, unless FEDERATION_NO_SKIP is set: then setup installs the packages.
func Node(t TB, example string) string {
	t.Helper()
	known(t, example, "*.mjs", "testdata/*.mjs", "package-lock.json")
	node, err := exec.LookPath("node")
	if err == nil && nodeLoads(node, example) {
		return node
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
	if !nodeLoads(node, example) {
		t.Fatalf("%s is older than Node 20.19, or setup has not installed what it should", node)
	}
	return node
}

// nodeLoads reports whether a Node is new enough and finds the packages of the example.
func nodeLoads(node, example string) bool {
	cmd := exec.Command(node, "--input-type=module", "-e", `import '@grpc/grpc-js'; import '@grpc/proto-loader';
import '@noble/curves/nist.js';
const [major, minor] = process.versions.node.split('.').map(Number);
process.exit(major > 20 || major === 20 && minor >= 19 ? 0 : 1);`)
	cmd.Dir = example
	return cmd.Run() == nil
}
