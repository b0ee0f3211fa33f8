//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
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
	rotated := filepath.Join(t.TempDir(), "rotated")
	for _, tt := range []struct {
		rule, mode, says string
		args             []string
	}{
		{"human", "human", "status 0", nil},
		{"handshake", "prints-first", "is not the handshake line", nil},
		{"handshake", "no-flush", "without a line break", nil},
		{"handshake", "tcp", "want a unix socket", nil},
		{"handshake", "silent", "is it flushed?", []string{"-start", "300ms"}},
		{"tls-strangers", "no-client-auth", "a stranger was answered: one without a certificate", nil},
		{"health", "not-serving", "NOT_SERVING", nil},
		{"info", "no-name", `the name is ""`, nil},
		{"info", "renamed", "a second time", nil},
		{"configure", "renamed-later", "after Configure Info says", nil},
		{"unconfigured", "eager", "ROLE_TRUST answered", nil},
		{"configure", "more-roles", "does not offer", nil},
		{"configure-again", "any-revision", "an older revision", nil},
		{"configure-again", "anew", "ROLE_TRUST returns other material", nil},
		{"configure-bad", "any-setting", "no-such-setting", nil},
		{"configure-bad", "drops-old", "the old one does not serve", nil},
		{"configure-bad", "half-applies", "ROLE_TRUST returns other material", []string{"-set", "name=a.example"}},
		{"configure-bad", "counts-refused", "with the revision that the bad one had", nil},
		{"configure-together", "one-at-a-time", "busy", nil},
		{"validate", "validates-anything", "no-such-setting", nil},
		{"validate", "validates-nothing", "a good configuration", nil},
		{"validate", "validates-into-force", "without Configure", nil},
		{"roles", "wrong-code", "want UNIMPLEMENTED", nil},
		{"trust", "no-roots", "no root", nil},
		{"identity", "wrong-key", "does not verify", nil},
		{"key", "wrong-key", "does not verify", nil},
		{"tls-algorithms", "one-salt", "PSSWithSHA512", nil},
		{"tls-algorithms", "boasts", "ECDSAWithP384AndSHA384 (0x0503) is declared", nil},
		{"stale-key", "signs-anyway", "want ABORTED", nil},
		{"stale-key", "signs-with-another", "another's signature", []string{"-env", "ROTATED=" + rotated, "-rotate", "touch " + rotated}},
		{"sign-together", "one-at-a-time", "busy", nil},
		{"watch", "mute", "no message came", nil},
		{"watch", "keeps-watches", "watches that have ended", nil},
		{"kill", "forgets", "with the key of before the kill", nil},
		{"stop", "deaf", "it runs on", nil},
		{"host-death", "orphan", "was alive", nil},
		{"host-death", "silent", "did not start within", []string{"-start", "300ms"}},
		{"flat", "leaks", "descriptors", []string{"-cycles", "50"}},
		{"flat", "chatters", "bytes for each reconfiguration", []string{"-cycles", "20"}},
		{"flat", "chatters", "bytes for each reconfiguration", []string{"-cycles", "3000"}}, // beyond what is kept
		{"flat", "leaks-signing", "descriptors", []string{"-cycles", "1000"}},
		{"flat", "leaks-threads", "threads", []string{"-cycles", "200"}},
		{"flat", "leaks-children", "child processes", []string{"-cycles", "50"}},
		{"secrets", "blabs", `the secret "token"`, []string{"-secret", "token=correct-horse"}},
		{"secrets", "blabs-base64", "in base64", []string{"-secret", "token=correct-horse"}},
		{"secrets", "blabs-octets", "as a list of octets", []string{"-secret", "token=correct-horse"}},
		{"secrets", "blabs-refused", "configuration that it refused", []string{"-secret", "token=correct-horse", "-set", "name=a.example"}},
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

func TestACallThatIsNotAnsweredEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}
		p := &process{ended: make(chan struct{})}
		began := time.Now()
		err := p.bounded(t.Context(), "", nil, nil, nil, hangs)
		if took := time.Since(began); took != callBound || !strings.Contains(err.Error(), "no answer within") {
			t.Errorf("%v after %v", err, took)
		}
		began = time.Now()
		time.AfterFunc(time.Second, func() { close(p.ended) })
		err = p.bounded(t.Context(), "", nil, nil, nil, hangs)
		if took := time.Since(began); took != time.Second || !strings.Contains(err.Error(), "has ended") {
			t.Errorf("the process ends: %v after %v", err, took)
		}
	})
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

func TestAKeyIsAskedForWhatItDeclaresAlone(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	status, _, out := runCheck(t, "-cycles", "10", "-only", "identity,tls-algorithms,stale-key,sign-together,flat", "--", self, "plugin", "pss")
	if status != 0 {
		t.Error(out)
	}
}

func TestAManifestIsOfRegularFiles(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a pipe":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link to a folder": func(path string) error { return os.Symlink("/", path) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, "x")); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if status := run(t.Context(), []string{"-manifest", dir}, &out, &out); status != 2 || !strings.Contains(out.String(), "x is no regular file") {
			t.Errorf("%s: status %d, %s", name, status, out.String())
		}
	}
}

// A node finds a shorter folder then, too.
func TestTheFolderForTemporaryFilesMayHaveALongPath(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	if status, _, out := runCheck(t, "-only", "handshake,host-death", "--", self, "plugin", "good"); status != 0 {
		t.Error(out)
	}
}

func TestTheCommandLine(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"nothing":             {nil, 2, "usage:"},
		"no such plugin":      {[]string{"--", "./no-such-plugin"}, 2, "no-such-plugin"},
		"bad setting":         {[]string{"-set", "x"}, 2, "not name=value"},
		"no such rule":        {[]string{"-only", "nonsense", "--", "/bin/true"}, 2, "no rule is named"},
		"one rule misspelt":   {[]string{"-only", "human,kil", "--", "/bin/true"}, 2, `no rule is named "kil"`},
		"list":                {[]string{"-list"}, 0, "tls-strangers"},
		"existing folder":     {[]string{"-new", "."}, 2, "exists"},
		"no such skeleton":    {[]string{"-new", "x", "-lang", "cobol"}, 2, "cobol"},
		"short secret":        {[]string{"-only", "secrets", "-secret", "a=b", "--", self, "plugin", "good"}, 0, "give a longer one"},
		"secret from no file": {[]string{"-secret", "a=@/no/such/file"}, 2, "no such file"},
	} {
		var out bytes.Buffer
		if status := run(context.Background(), tt.args, &out, &out); status != tt.status || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%s: status %d, %s", name, status, out.String())
		}
	}
}
