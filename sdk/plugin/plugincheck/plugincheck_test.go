//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk/plugin"
)

// The test binary is the plugin under test, and the processes that plugincheck starts of itself.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 2 && os.Args[1] == hostArg:
		beHost(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == suiteArg:
		runSuite()
	case len(os.Args) > 2 && os.Args[1] == "plugin":
		bad(os.Args[2])
	default:
		os.Exit(m.Run())
	}
}

// check runs the command and returns its status, its verdicts by rule, and what it printed.
func runCheck(t *testing.T, args ...string) (int, map[string]verdict, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "out.json")
	var out, errs bytes.Buffer
	status := run(context.Background(), append([]string{"-json", file, "-start", "1m"}, args...), &out, &errs)
	b, err := os.ReadFile(file)
	if err != nil {
		return status, nil, out.String() + errs.String()
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	byRule := map[string]verdict{}
	for _, v := range r.Verdicts {
		byRule[v.Rule] = v
	}
	return status, byRule, out.String() + errs.String()
}

func TestEachRuleFindsItsViolation(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rule, mode, says string
		args             []string
	}{
		{"human", "human", "status 0", nil},
		{"handshake", "prints-first", "is not the handshake line", nil},
		{"handshake", "no-flush", "without a line break", nil},
		{"handshake", "silent", "is it flushed?", []string{"-start", "300ms"}},
		{"tls-strangers", "no-client-auth", "a stranger was answered: one without a certificate", nil},
		{"health", "not-serving", "NOT_SERVING", nil},
		{"info", "no-name", `the name is ""`, nil},
		{"unconfigured", "eager", "ROLE_TRUST answered", nil},
		{"configure", "more-roles", "does not offer", nil},
		{"configure-again", "any-revision", "an older revision", nil},
		{"configure-bad", "any-setting", "no-such-setting", nil},
		{"configure-bad", "drops-old", "the old one does not serve", nil},
		{"configure-together", "one-at-a-time", "busy", nil},
		{"roles", "wrong-code", "want UNIMPLEMENTED", nil},
		{"trust", "no-roots", "no root", nil},
		{"identity", "wrong-key", "does not verify", nil},
		{"key", "wrong-key", "does not verify", nil},
		{"tls-algorithms", "one-salt", "PSSWithSHA512", nil},
		{"stale-key", "signs-anyway", "want ABORTED", nil},
		{"sign-together", "one-at-a-time", "busy", nil},
		{"watch", "mute", "no message came", nil},
		{"kill", "forgets", "with the key of before the kill", nil},
		{"stop", "deaf", "it runs on", nil},
		{"host-death", "orphan", "was alive", nil},
		{"flat", "leaks", "descriptors from", []string{"-cycles", "50"}},
		{"flat", "chatters", "bytes for each reconfiguration", []string{"-cycles", "20"}},
		{"secrets", "blabs", `the secret "token"`, []string{"-secret", "token=correct-horse"}},
	} {
		t.Run(tt.rule+" "+tt.mode, func(t *testing.T) {
			args := append([]string{"-only", tt.rule}, tt.args...)
			status, verdicts, out := runCheck(t, append(args, "--", self, "plugin", tt.mode)...)
			v := verdicts[tt.rule]
			if status != 1 || v.Outcome != failed || !strings.Contains(v.Detail, tt.says) || v.Cure == "" {
				t.Errorf("status %d, verdict %+v, want a failure that says %q", status, v, tt.says)
			}
			if !strings.Contains(out, "FAIL  "+tt.rule) || !strings.Contains(out, "cure: ") || !strings.Contains(out, "does not conform") {
				t.Errorf("printed:\n%s", out)
			}
		})
	}
}

func TestAConformantPluginPassesEveryRule(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	junit := filepath.Join(t.TempDir(), "out.xml")
	status, verdicts, out := runCheck(t, "-junit", junit, "-cycles", "50", "-secret", "token=correct-horse", "--", self, "plugin", "good")
	if status != 0 || len(verdicts) != len(rules) {
		t.Errorf("status %d, %d verdicts:\n%s", status, len(verdicts), out)
	}
	for _, v := range verdicts {
		if v.Outcome == failed || (v.Outcome == skipped && !slices.Contains([]string{"roles", "host-death"}, v.Rule)) {
			t.Errorf("%+v", v)
		}
	}
	b, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Name string `xml:"name,attr"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b, &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != len(rules) || suite.Failures != 0 || len(suite.Cases) != len(rules) {
		t.Errorf("JUnit: %+v", suite)
	}
}

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

func TestTheCommandLine(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"nothing":             {nil, 2, "usage:"},
		"no such plugin":      {[]string{"--", "./no-such-plugin"}, 2, "no-such-plugin"},
		"bad setting":         {[]string{"-set", "x"}, 2, "not name=value"},
		"no such rule":        {[]string{"-only", "nonsense", "--", "/bin/true"}, 2, "no rule is named"},
		"list":                {[]string{"-list"}, 0, "tls-strangers"},
		"existing folder":     {[]string{"-new", "."}, 2, "exists"},
		"no such skeleton":    {[]string{"-new", "x", "-lang", "cobol"}, 2, "cobol"},
		"secret from no file": {[]string{"-secret", "a=@/no/such/file"}, 2, "no such file"},
	} {
		var out bytes.Buffer
		if status := run(context.Background(), tt.args, &out, &out); status != tt.status || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%s: status %d, %s", name, status, out.String())
		}
	}
}
