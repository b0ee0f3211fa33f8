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
		{"host-death", "silent", "did not start within", []string{"-start", "300ms"}},
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

func TestACallThatIsNotAnsweredEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}
		began := time.Now()
		err := bounded(t.Context(), "", nil, nil, nil, hangs)
		if took := time.Since(began); took != callBound || !strings.Contains(err.Error(), "no answer within") {
			t.Errorf("%v after %v", err, took)
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
		"one rule misspelt":   {[]string{"-only", "human,kil", "--", "/bin/true"}, 2, `no rule is named "kil"`},
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
