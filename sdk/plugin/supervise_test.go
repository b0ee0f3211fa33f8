//go:build linux

package plugin_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func kill(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// halt stops a process and waits until each of its threads has stopped, which takes a moment.
func halt(t testing.TB, pid int) {
	t.Helper()
	kill(t, pid, syscall.SIGSTOP)
	eventually(t, "every thread has stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return err == nil && !slices.ContainsFunc(threads, func(name string) bool {
			b, err := os.ReadFile(name)
			if err != nil {
				return false // it has ended
			}
			_, state, _ := bytes.Cut(b[max(bytes.LastIndexByte(b, ')'), 0):], []byte(" "))
			return !bytes.HasPrefix(state, []byte("T"))
		})
	})
}

func TestACrashIsNotNoticedByCallers(t *testing.T) {
	c, m, events := movableConfig(t)
	nothingLeft(t, &c)
	p := open(t, c)
	trust := must(p.Trust())
	before := must(trust.TrustBundle(within(t)))

	watched := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() {
		ended <- trust.(sdk.Watcher).Watch(ctx, func() { watched <- struct{}{} })
	}()
	<-watched // subscribed

	for i := range 3 {
		generation := p.Status().Generation
		kill(t, p.Status().PID, syscall.SIGKILL)
		// The last good answer serves in between; it never fails.
		for p.Status().Generation == generation {
			if _, err := trust.TrustBundle(within(t)); err != nil {
				t.Fatalf("after crash %d: %v", i+1, err)
			}
		}
	}
	eventually(t, "a process serves", func() bool { return p.Status().State == plugin.Serving })
	if s := p.Status(); s.Restarts != 3 || s.Generation < 4 || s.LastError != "" {
		t.Errorf("status is %+v", s)
	}
	if after := must(trust.TrustBundle(within(t))); !after.Roots[0].Equal(before.Roots[0]) {
		t.Error("the roots have changed")
	}
	// The watch went over to the new process: a change is told of.
	for len(watched) > 0 {
		<-watched
	}
	m.rotateTrust(t)
	select {
	case <-watched:
	case <-time.After(time.Minute):
		t.Error("the watch did not follow to the new process")
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("watch ended with %v", err)
	}
	if n := events.count(plugin.EventExited); n != 3 {
		t.Errorf("%d exits in %v", n, events.kinds())
	}
}

func TestWhileNoProcessServesTheLastGoodMaterialDoes(t *testing.T) {
	c, m, events := movableConfig(t)
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	for _, role := range []fault.Role{fault.RoleTrust, fault.RoleIdentity, fault.RoleKey} {
		if err := pullRole(ctx, p, role); err != nil {
			t.Fatal(err)
		}
	}
	// Without its folder the plugin refuses its configuration, so that no new process gets into service.
	away := m.dir + ".away"
	if err := os.Rename(m.dir, away); err != nil {
		t.Fatal(err)
	}
	kill(t, p.Status().PID, syscall.SIGKILL)
	eventually(t, "two attempts have failed", func() bool { return events.count(plugin.EventFailed) >= 2 })
	s := p.Status()
	if s.State != plugin.Degraded || s.PID != 0 || s.LastError == "" || s.Generation != 1 || s.Material[fault.RoleTrust].Generation != 1 {
		t.Errorf("status is %+v", s)
	}
	for _, role := range []fault.Role{fault.RoleTrust, fault.RoleIdentity, fault.RoleKey} {
		if err := pullRole(ctx, p, role); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
	if b := must(must(p.Trust()).TrustBundle(ctx)); b.RefreshAfter != time.Second {
		t.Errorf("an answer from memory is to be refreshed after %v, want 1 s", b.RefreshAfter)
	}
	// A signature needs a process; it waits within its deadline.
	set := must(must(p.Key()).SigningKeys(ctx))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := set.Active.Sign(short, []byte("x")); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("sign: %v, want ErrUnavailable and the deadline", err)
	}
	signed := make(chan error, 1)
	go func() {
		_, err := set.Active.Sign(ctx, []byte("x"))
		signed <- err
	}()
	if err := os.Rename(away, m.dir); err != nil {
		t.Fatal(err)
	}
	if err := <-signed; err != nil {
		t.Errorf("a signature that waited for the next process: %v", err)
	}
	eventually(t, "it serves", func() bool { return p.Status().State == plugin.Serving })
}

func TestASignatureInFlightIsMadeByTheNextProcess(t *testing.T) {
	c, m, _ := movableConfig(t)
	c.Args = []string{"plugin", "slow-sign", filepath.Join(m.dir, "signing")}
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	id := must(must(p.Identity()).Identity(ctx))
	set := must(must(p.Key()).SigningKeys(ctx))
	digest := sha256.Sum256([]byte("x"))
	for name, sign := range map[string]func() error{
		"identity": func() error {
			_, err := id.Certificate.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
			return err
		},
		"key": func() error {
			_, err := set.Active.Sign(ctx, []byte("x"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			eventually(t, "serves", func() bool { return p.Status().State == plugin.Serving })
			marker := filepath.Join(m.dir, "signing")
			_ = os.Remove(marker)
			retries, pid := p.Status().Retries, p.Status().PID
			done := make(chan error, 1)
			go func() { done <- sign() }()
			eventually(t, "the signature is under way", func() bool { _, err := os.Stat(marker); return err == nil })
			kill(t, pid, syscall.SIGKILL)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if got := p.Status().Retries - retries; got != 1 {
				t.Errorf("%d retries, want 1", got)
			}
		})
	}
}

func TestAHungProcessIsFoundAndReplaced(t *testing.T) {
	c, _, events := movableConfig(t)
	c.Limits.Heartbeat, c.Limits.Hang, c.Limits.Call = 100*time.Millisecond, 5*time.Second, time.Minute
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	set := must(must(p.Key()).SigningKeys(ctx))
	pid := p.Status().PID
	halt(t, pid)
	if _, err := set.Active.Sign(ctx, []byte("x")); err != nil {
		t.Errorf("a signature across the hang: %v", err)
	}
	if s := p.Status(); s.Hangs == 0 || s.PID == pid || events.count(plugin.EventHung) == 0 {
		t.Errorf("status is %+v, events %v", s, events.kinds())
	}
}

func TestCloseIsBoundedWhateverThePluginDoes(t *testing.T) {
	for name, set := range map[string]func(testing.TB, *plugin.Config) func(*plugin.Plugin){
		"deaf to every request": func(_ testing.TB, c *plugin.Config) func(*plugin.Plugin) {
			c.Args = []string{"plugin", "deaf"}
			return nil
		},
		"stopped": func(t testing.TB, c *plugin.Config) func(*plugin.Plugin) {
			return func(p *plugin.Plugin) { halt(t, p.Status().PID) }
		},
		"with a grandchild that holds its output": func(_ testing.TB, c *plugin.Config) func(*plugin.Plugin) {
			c.Args = []string{"plugin", "grandchild"}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := material(t, config(t, "good"))
			c.Limits.Stop = 300 * time.Millisecond
			nothingLeft(t, &c)
			before := set(t, &c)
			p := open(t, c)
			if before != nil {
				before(p)
			}
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 45*time.Second {
				t.Errorf("Close took %v", took)
			}
			if strings.HasPrefix(name, "with a grandchild") {
				eventually(t, "the grandchild is gone", func() bool { return !exists("plugin\x00sleeping-grandchild") })
			}
		})
	}
}

// exists looks for a process by its arguments.
func exists(args string) bool {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	return slices.ContainsFunc(names, func(name string) bool {
		b, err := os.ReadFile(name)
		return err == nil && bytes.Contains(b, []byte(args)) && strings.Contains(string(b), strconv.Itoa(os.Getpid()))
	})
}

func TestFloodsAndOddLinesDoNoHarm(t *testing.T) {
	c, _ := material(t, config(t, "floods"))
	nothingLeft(t, &c)
	p := open(t, c)
	for range 3 {
		if err := pullRole(within(t), p, fault.RoleKey); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "lines were dropped", func() bool { return p.Status().LogLost > 0 })
	if s := p.Status(); s.Generation != 1 {
		t.Errorf("status is %+v", s)
	}
}

func TestAPanicInAProviderIsAnError(t *testing.T) {
	c := config(t, "panics")
	nothingLeft(t, &c)
	p := open(t, c)
	for range 2 {
		err := pullRole(within(t), p, fault.RoleTrust)
		if !errors.Is(err, fault.ErrUnavailable) || !strings.Contains(err.Error(), "panic in the plugin") {
			t.Errorf("pull: %v", err)
		}
	}
	if s := p.Status(); s.Generation != 1 || s.State != plugin.Serving {
		t.Errorf("status is %+v", s)
	}
}

func TestThePluginDiesWithItsHost(t *testing.T) {
	path, _ := self()
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "terminated": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			host := startHost(t, path)
			plugin := host.pluginPID(t)
			if err := host.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = host.cmd.Wait()
			eventually(t, "the plugin is gone", func() bool { return !alive(plugin) })
		})
	}
}

func TestWhatWasVerifiedIsWhatRuns(t *testing.T) {
	path, _ := self()
	c, _ := material(t, config(t, "good"))
	nothingLeft(t, &c)
	c.Path = filepath.Join(t.TempDir(), "plugin")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Path, b, 0o700); err != nil {
		t.Fatal(err)
	}
	p := open(t, c)
	// Somebody writes to the file; the next process is started from what was verified.
	if err := os.WriteFile(c.Path, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	generation := p.Status().Generation
	kill(t, p.Status().PID, syscall.SIGKILL)
	eventually(t, "another process serves", func() bool { s := p.Status(); return s.State == plugin.Serving && s.Generation > generation })
	if err := pullRole(within(t), p, fault.RoleKey); err != nil {
		t.Error(err)
	}
}

func TestThePluginSeesNothingOfItsHost(t *testing.T) {
	t.Setenv("SECRET_OF_THE_HOST", "hunter2")
	t.Setenv("PASSED_ON", "yes")
	c := config(t, "shows")
	nothingLeft(t, &c)
	c.Env = []string{"PASSED_ON", "NOT_SET", "FIXED=1=2"}
	p := open(t, c)
	err := pullRole(within(t), p, fault.RoleTrust)
	if err == nil {
		t.Fatal("no answer")
	}
	_, text, _ := strings.Cut(err.Error(), "it sees: ")
	got := strings.Fields(text)
	want := []string{
		"FEDERATION_PLUGIN", "FEDERATION_PLUGIN_LOG", "FIXED=1=2", "PASSED_ON=yes", "PLUGIN_CLIENT_CERT", "PLUGIN_MAX_PORT",
		"PLUGIN_MIN_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", "dir=/", "stdin=/dev/null",
	}
	if !slices.Equal(got, want) {
		t.Errorf("it sees %q, want %q", got, want)
	}
}

func TestThePluginIsConfined(t *testing.T) {
	c := config(t, "limits")
	nothingLeft(t, &c)
	c.Limits.Files, c.Limits.Memory = 200, 64<<30
	p := open(t, c)
	err := pullRole(within(t), p, fault.RoleTrust)
	if err == nil || !strings.Contains(err.Error(), "it sees: core=0 files=200 memory=68719476736;") {
		t.Errorf("pull: %v", err)
	}
}

func TestFilesArePinnedAndTheScriptRunsAmongCopies(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"data/a.txt": "alpha", "b.txt": "beta", "unlisted.txt": "gamma"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifest := ""
	for _, name := range []string{"data/a.txt", "b.txt"} {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		manifest += fmt.Sprintf("%x  %s\n", sha256.Sum256(b), name)
	}
	files, err := plugin.ReadManifest(strings.NewReader(manifest))
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, "lists")
	nothingLeft(t, &c)
	c.Dir, c.Files = dir, files
	for _, pinned := range []bool{true, false} { // the interpreter
		if !pinned {
			c.SHA256 = ""
		}
		p := open(t, c)
		err = pullRole(within(t), p, fault.RoleTrust)
		if err == nil || !strings.Contains(err.Error(), "it sees: b.txt=beta data/a.txt=alpha;") {
			t.Errorf("pull: %v", err)
		}
		if d := p.Status().Digest; d != fmt.Sprintf("%x", sha256.Sum256([]byte(sorted(manifest)))) {
			t.Errorf("digest is %s, want that of the sorted manifest", d)
		}
		_ = p.Close()
	}
	if err := os.WriteFile(filepath.Join(dir, "b.txt"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := plugin.Open(within(t), c); !errors.Is(err, fault.ErrConfig) || !strings.Contains(err.Error(), "b.txt") {
		t.Errorf("a changed file: %v, want ErrConfig that names it", err)
	}
}

func sorted(manifest string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(manifest, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\n") + "\n"
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[66:], b[66:]) })
	return strings.Join(lines, "")
}

func TestTheFirstCrashCostsNoWaitAndASeriesDoes(t *testing.T) {
	c, _ := material(t, config(t, "good"))
	nothingLeft(t, &c)
	exits := make(chan plugin.Event, 100)
	c.OnEvent = func(e plugin.Event) {
		if e.Kind == plugin.EventExited {
			exits <- e
		}
	}
	p := open(t, c)
	eventually(t, "it has served for a while", func() bool { return time.Since(p.Status().Since) > time.Second })
	kill(t, p.Status().PID, syscall.SIGKILL)
	if e := <-exits; e.Delay != 0 {
		t.Errorf("after a healthy time the next process waits %v", e.Delay)
	}
	// On a machine that stalls, one or the other may live long enough to be the first of a series again.
	for range 20 {
		eventually(t, "it serves", func() bool { return p.Status().State == plugin.Serving })
		kill(t, p.Status().PID, syscall.SIGKILL)
		if e := <-exits; e.Delay > 0 {
			return
		}
	}
	t.Error("crash after crash, and never a wait")
}
