package plugin_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk/plugin"
)

// nothingLeft fails the test if a process, a file, a descriptor (of a copy in memory, a pipe, a socket) or a
// goroutine is left when it ends.
func nothingLeft(t *testing.T, c *plugin.Config) {
	t.Helper()
	c.TempDir = t.TempDir()
	before, open := children(t), descriptors(t, c.TempDir)
	t.Cleanup(func() {
		eventually(t, "the processes are gone", func() bool { return len(children(t)) <= len(before) })
		eventually(t, "the folder for sockets and copies is empty", func() bool {
			left, err := filepath.Glob(filepath.Join(c.TempDir, "*"))
			return err == nil && len(left) == 0
		})
		eventually(t, "the descriptors are closed", func() bool {
			return !slices.ContainsFunc(descriptors(t, c.TempDir), func(d string) bool { return !slices.Contains(open, d) })
		})
		goleak.VerifyNone(t)
	})
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAPluginThatCannotStartIsAClearErrorWithinItsBound(t *testing.T) {
	const bound = 45 * time.Second // beyond Limits.Start: a slow machine's
	file := func(mode os.FileMode, text string) func(testing.TB, *plugin.Config) {
		return func(t testing.TB, c *plugin.Config) {
			c.Path = filepath.Join(t.TempDir(), "plugin")
			if err := os.WriteFile(c.Path, []byte(text), mode); err != nil {
				t.Fatal(err)
			}
			c.SHA256, c.Unpinned = "", true
		}
	}
	pinned := func(set func(testing.TB, *plugin.Config)) func(testing.TB, *plugin.Config) {
		return func(t testing.TB, c *plugin.Config) {
			set(t, c)
			b, err := os.ReadFile(c.Path)
			if err != nil {
				t.Fatal(err)
			}
			c.SHA256, c.Unpinned = fmt.Sprintf("%x", sha256.Sum256(b)), false
		}
	}
	for _, tt := range []struct {
		name string
		mode string
		set  func(testing.TB, *plugin.Config)
		is   error
		says string
	}{
		{"wrong digest", "good", func(_ testing.TB, c *plugin.Config) { c.SHA256 = strings.Repeat("0", 64) }, fault.ErrConfig, "pin its digest"},
		{"digest that is none", "good", func(_ testing.TB, c *plugin.Config) { c.SHA256 = "abc" }, fault.ErrConfig, "64 hexadecimal"},
		{"not pinned", "good", func(_ testing.TB, c *plugin.Config) { c.SHA256 = "" }, fault.ErrConfig, "sha256sum"},
		{"no path", "good", func(_ testing.TB, c *plugin.Config) { c.Path = "" }, fault.ErrConfig, "Path"},
		{"relative path", "good", func(_ testing.TB, c *plugin.Config) { c.Path = "plugin" }, fault.ErrConfig, "not absolute"},
		{"missing binary", "good", func(t testing.TB, c *plugin.Config) { c.Path = filepath.Join(t.TempDir(), "none") }, fault.ErrNotFound, "Path"},
		{"a folder", "good", func(t testing.TB, c *plugin.Config) { c.Path = t.TempDir() }, fault.ErrConfig, "plugin: Path: "},
		{"not executable", "good", file(0o600, "#!/bin/sh\n"), fault.ErrConfig, "chmod +x"},
		{"no format that the kernel knows", "good", file(0o700, "\x00\x01nonsense"), fault.ErrConfig, "no program for this machine"},
		{"a script that names no interpreter", "good", file(0o700, "echo hello\n"), fault.ErrConfig, "a script begins with #!"},
		{"a script whose interpreter is missing", "good", file(0o700, "#!/no/such/interpreter\n"), fault.ErrConfig, "the interpreter"},
		{"a file without a format, pinned", "good", pinned(file(0o700, "\x00\x01nonsense")), fault.ErrConfig, "no program for this machine"},
		{"a binary that is no plugin", "good", func(_ testing.TB, c *plugin.Config) {
			c.Path, c.SHA256, c.Unpinned, c.Args = "/bin/echo", "", true, []string{"hello"}
		}, fault.ErrUnavailable, `printed "hello"`},
		{"reserved name in the environment", "good", func(_ testing.TB, c *plugin.Config) { c.Env = []string{"PLUGIN_CLIENT_CERT=x"} }, fault.ErrConfig, "Env"},
		{"an argument with a NUL", "good", func(_ testing.TB, c *plugin.Config) { c.Args = append(c.Args, "a\x00b") }, fault.ErrConfig, "Args"},
		{"arguments without end", "good", func(_ testing.TB, c *plugin.Config) { c.Args = append(c.Args, strings.Repeat("x", 8<<20)) }, fault.ErrConfig, "Args and Env"},
		{"a relative folder for the socket", "good", func(_ testing.TB, c *plugin.Config) { c.TempDir = "x" }, fault.ErrConfig, "not absolute"},
		{"no folder for the socket", "good", func(_ testing.TB, c *plugin.Config) { c.TempDir = "/no/such/folder" }, fault.ErrUnavailable, "TempDir"},
		{"a setting that is no text", "good", func(_ testing.TB, c *plugin.Config) { c.Settings = map[string]string{"x": "\xff"} }, fault.ErrConfig, `Settings: "x" is not UTF-8`},
		{"a secret whose name is no text", "good", func(_ testing.TB, c *plugin.Config) { c.Secrets = map[string]plugin.Secret{"\xff": "x"} }, fault.ErrConfig, "Secrets"},
		{"an instance that is no text", "good", func(_ testing.TB, c *plugin.Config) { c.InstanceID = "\xff" }, fault.ErrConfig, "InstanceID"},
		{"a setting of 17 MiB", "good", func(_ testing.TB, c *plugin.Config) {
			c.Settings = map[string]string{"x": strings.Repeat("x", 17<<20)}
		}, fault.ErrConfig, "Limits.Message"},
		{"prints first", "prints", nil, fault.ErrUnavailable, "standard output belongs to the handshake"},
		{"prints without end", "prints-on", nil, fault.ErrUnavailable, "longer than 8192 octets"},
		{"prints a long handshake line", "long-line", nil, fault.ErrUnavailable, "longer than 8192 octets"},
		{"breaks no line", "no-line-break", nil, fault.ErrUnavailable, "no handshake line (with its line break, and flushed)"},
		{"ends in the line", "ends-in-line", nil, fault.ErrUnavailable, "without a line break"},
		{"names another certificate", "other-certificate", nil, fault.ErrPermission, "another certificate"},
		{"exits at once", "exits", nil, fault.ErrUnavailable, "exit status 7"},
		{"exits at once and says why", "exits", nil, fault.ErrUnavailable, "no licence today"},
		{"hangs in start", "hangs", nil, fault.ErrUnavailable, "no handshake line"},
		{"listens nowhere", "hangs-after", nil, fault.ErrUnavailable, "no such file or directory"},
		{"hangs in Info", "hangs-in-info", nil, fault.ErrUnavailable, "no answer within"},
		{"hangs in Configure", "hangs-in-configure", nil, fault.ErrUnavailable, "no answer in"},
		{"speaks another version", "version", nil, fault.ErrUnavailable, `version "99" of the protocol`},
		{"speaks net/rpc", "netrpc", nil, fault.ErrUnavailable, "want grpc"},
		{"sends no certificate", "plain", nil, fault.ErrUnavailable, "no certificate"},
		{"sends half a certificate", "halfcert", nil, fault.ErrUnavailable, "no certificate"},
		{"listens elsewhere", "elsewhere", nil, fault.ErrPermission, "PLUGIN_UNIX_SOCKET_DIR"},
		{"listens on TCP", "tcp", nil, fault.ErrUnsupported, "unix socket"},
		{"has no name", "no-name", nil, fault.ErrMaterial, "name"},
		{"has a name that is an attack", "bad-name", nil, fault.ErrMaterial, "name"},
		{"offers no role", "no-roles", nil, fault.ErrUnsupported, "no role"},
		{"offers unknown roles only", "unknown-roles", nil, fault.ErrUnsupported, "no role"},
		{"lies about its roles", "more-roles", nil, fault.ErrMaterial, "did not offer"},
		{"is configured to nothing", "no-roles-configured", nil, fault.ErrConfig, "no role"},
		{"rejects its configuration", "rejects", nil, fault.ErrConfig, "url: no such  scheme"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, tt.mode)
			if strings.Contains(tt.mode, "hangs") || tt.mode == "no-line-break" {
				c.Limits.Start = 1500 * time.Millisecond
			}
			nothingLeft(t, &c)
			if tt.set != nil {
				tt.set(t, &c)
			}
			var err error
			for ; ; c.Limits.Start *= 4 {
				var p *plugin.Plugin
				began := time.Now()
				if p, err = plugin.Open(context.Background(), c); err == nil {
					p.Close()
					t.Fatal("it opened")
				}
				if took := time.Since(began); took > c.Limits.Start+bound {
					t.Errorf("it took %v", took)
				}
				// On a slow machine it may not have come to where it hangs.
				if strings.Contains(err.Error(), tt.says) || c.Limits.Start > 20*time.Second || !errors.Is(err, context.DeadlineExceeded) {
					break
				}
			}
			if !errors.Is(err, tt.is) {
				t.Errorf("error %q is not %q", err, tt.is)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
			if text := err.Error(); !strings.HasPrefix(text, "plugin") || strings.Count(text, "plugin: ") > 1 || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("error %q is not one line that begins with the package's name", err)
			}
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	c := config(t, "hangs")
	nothingLeft(t, &c)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	_, err := plugin.Open(ctx, c)
	if !errors.Is(err, context.Canceled) || time.Since(began) > 30*time.Second {
		t.Errorf("%v after %v, want context.Canceled at once", err, time.Since(began))
	}
}

func TestAnAnswerThatFailsACheckIsRejected(t *testing.T) {
	const trust, identity, key = fault.RoleTrust, fault.RoleIdentity, fault.RoleKey
	for _, tt := range []struct {
		mode string
		role fault.Role
		says string
	}{
		{"empty-bundle", trust, "no root"},
		{"huge-bundle", trust, "too large"},
		{"huge-certificate", trust, "1048576 octets"},
		{"many-roots", trust, "20000 roots"},
		{"not-der", trust, "root 0"},
		{"bad-crl", trust, "revocation list 0"},
		{"wrong-fingerprint", identity, "does not match its key"},
		{"wrong-key", identity, "does not verify"},
		{"long-signature", identity, "1048576 octets"},
		{"no-signature", identity, "does not verify"},
		{"wrong-eku", identity, "extended key usage"},
		{"wrong-usage", identity, "digitalSignature"},
		{"expired", identity, "the leaf ended"},
		{"no-chain", identity, "0 certificates"},
		{"long-chain", identity, "21 certificates"},
		{"unrelated-chain", identity, "is not signed by the next"},
		{"no-schemes", identity, "signature schemes"},
		{"wrong-schemes", identity, "signature schemes"},
		{"short-key", key, "31 octets"},
		{"short-published", key, "published key 0"},
		{"wrong-key", key, "does not verify"},
	} {
		t.Run(string(tt.role)+" "+tt.mode, func(t *testing.T) {
			c := config(t, tt.mode)
			var events []plugin.Event
			c.OnEvent = func(e plugin.Event) { events = append(events, e) }
			nothingLeft(t, &c)
			p := open(t, c)
			err := pullRole(within(t), p, tt.role)
			if !errors.Is(err, fault.ErrMaterial) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("pull: %v, want ErrMaterial that says %q", err, tt.says)
			}
			pe, ok := errors.AsType[*fault.ProviderError](err)
			if !ok || pe.Role != tt.role {
				t.Errorf("pull: %v does not say whose it is", err)
			}
			if tt.mode == "huge-bundle" {
				return // gRPC refuses it before we look
			}
			if s := p.Status(); s.Rejected != 1 || len(s.Material) != 0 {
				t.Errorf("status is %+v", s)
			}
			_ = p.Close()
			if len(events) != 3 || events[1].Kind != plugin.EventRejected || events[1].Role != tt.role {
				t.Errorf("events are %v", events)
			}
		})
	}
}

func TestRefreshTimesOfAPluginAreBounded(t *testing.T) {
	for mode, want := range map[string]func(time.Duration) bool{
		"long-refresh":     func(d time.Duration) bool { return d > 0 },
		"negative-refresh": func(d time.Duration) bool { return d == 0 },
	} {
		t.Run(mode, func(t *testing.T) {
			p := open(t, config(t, mode))
			b, err := must(p.Trust()).TrustBundle(within(t))
			if err != nil || !want(b.RefreshAfter) {
				t.Errorf("%v %v", b, err)
			}
		})
	}
}

func TestWhyABundleIsPartialComesOverTheWire(t *testing.T) {
	c := config(t, "partial")
	c.Secrets = map[string]plugin.Secret{"token": "hunter2-hunter2"}
	b, err := must(open(t, c).Trust()).TrustBundle(within(t))
	if err != nil || b.Partial == nil {
		t.Fatalf("%+v %v, want a bundle that is partial", b, err)
	}
	text := b.Partial.Error()
	if !errors.Is(b.Partial, fault.ErrUnavailable) || !strings.HasPrefix(text, "one mount is sealed, says ") ||
		strings.Contains(text, "hunter2") || len(text) > 1100 {
		t.Errorf("partial for %q", text)
	}
}

func TestAProviderBehindAPluginSaysWhyItsBundleIsPartial(t *testing.T) {
	c, m, _ := movableConfig(t)
	trust := must(open(t, c).Trust())
	if b, err := trust.TrustBundle(within(t)); err != nil || b.Partial != nil {
		t.Fatalf("%+v %v, want all of it", b, err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "partial"), []byte("the second source is away"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := trust.TrustBundle(within(t)); err != nil || b.Partial == nil || b.Partial.Error() != "the second source is away" {
		t.Errorf("%+v %v, want the provider's own words", b, err)
	}
}

func TestAnAnswerAfterTheDeadlineIsUnavailable(t *testing.T) {
	c := config(t, "silent")
	c.Limits.Call, c.Limits.Hang = 300*time.Millisecond, time.Minute
	nothingLeft(t, &c)
	p := open(t, c)
	err := pullRole(within(t), p, fault.RoleTrust)
	if !errors.Is(err, fault.ErrUnavailable) || !strings.Contains(err.Error(), "no answer within 300ms") {
		t.Errorf("%v", err)
	}
	// The process is well, so it is not blamed.
	eventually(t, "another role answers in time", func() bool { return pullRole(within(t), p, fault.RoleKey) == nil })
	if p.Status().Generation != 1 {
		t.Errorf("%+v", p.Status())
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := pullRole(ctx, p, fault.RoleTrust); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func pullRole(ctx context.Context, p *plugin.Plugin, role fault.Role) error {
	var err error
	switch role {
	case fault.RoleTrust:
		_, err = must(p.Trust()).TrustBundle(ctx)
	case fault.RoleIdentity:
		_, err = must(p.Identity()).Identity(ctx)
	default:
		_, err = must(p.Key()).SigningKeys(ctx)
	}
	return err
}
