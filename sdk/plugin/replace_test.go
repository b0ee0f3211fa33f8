package plugin_test

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// another is the same plugin as another file, with other contents.
func another(t testing.TB, c plugin.Config) plugin.Config {
	t.Helper()
	path, _ := self()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Path = t.TempDir() + "/plugin-2"
	c.SHA256, c.Unpinned = "", true
	if err := os.WriteFile(c.Path, append(b, "version 2"...), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReplaceSwapsVersionsUnderLoad(t *testing.T) {
	c, _, events := movableConfig(t)
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	for _, role := range []fault.Role{fault.RoleTrust, fault.RoleIdentity, fault.RoleKey} {
		if err := pullRole(ctx, p, role); err != nil {
			t.Fatal(err)
		}
	}
	set := must(must(p.Key()).SigningKeys(ctx))
	old := p.Status()

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := set.Active.Sign(ctx, []byte("x")); err != nil {
					t.Errorf("a signature during the upgrade: %v", err)
					return
				}
			}
		})
	}
	r, err := p.Replace(ctx, another(t, c))
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	now := p.Status()
	if r.Old.Digest != old.Digest || r.New.Digest == old.Digest || now.Digest != r.New.Digest || now.PID == old.PID ||
		len(r.Changed) != 0 || len(r.Added) != 0 {
		t.Errorf("replacement %+v, status %+v", r, now)
	}
	eventually(t, "the old process is gone", func() bool { return !alive(old.PID) })
	if now.Material[fault.RoleIdentity].Digest != r.New.Digest {
		t.Errorf("the identity is said to be of %+v, want of the new version", now.Material[fault.RoleIdentity])
	}
	if _, err := set.Active.Sign(ctx, []byte("x")); err != nil {
		t.Errorf("the old key at the new version: %v", err)
	}
	if now = p.Status(); now.Restarts != 0 || events.count(plugin.EventReplaced) != 1 {
		t.Errorf("status %+v, events %v", now, events.kinds())
	}
	// The new version is the one that is started again.
	restart(t, p)
	if got := p.Status().Digest; got != r.New.Digest {
		t.Errorf("after a crash runs %s, want the new version", got)
	}
}

func TestReplaceKeepsTheOldVersion(t *testing.T) {
	c, ca := material(t, config(t, "good"))
	ctx := within(t)
	for name, tt := range map[string]struct {
		set  func(*plugin.Config)
		is   error
		says string
	}{
		"when the new one has the wrong digest": {func(c *plugin.Config) { c.SHA256 = strings.Repeat("0", 64) }, fault.ErrConfig, "pin its digest"},
		"when the new one does not start":       {func(c *plugin.Config) { c.Args[1] = "exits" }, fault.ErrUnavailable, "no licence today"},
		"when the new one lacks a role": {func(c *plugin.Config) {
			c.Settings, c.Secrets = map[string]string{"roots": string(ca.PEM())}, nil
		}, fault.ErrUnsupported, "no identity role"},
		"when the new one's answer fails a check":  {func(c *plugin.Config) { c.Args[1] = "empty-bundle" }, fault.ErrMaterial, "has no root"},
		"when the new one drops every root":        {func(c *plugin.Config) { c.Settings = map[string]string{"roots": string(sdktest.NewCA(t).PEM())} }, fault.ErrMaterial, "drops every root"},
		"when the new one does not know a setting": {func(c *plugin.Config) { c.Settings = map[string]string{"x": "y"} }, fault.ErrConfig, "unknown setting"},
	} {
		t.Run(name, func(t *testing.T) {
			events := &recorder{}
			c := c
			c.OnEvent = events.record
			nothingLeft(t, &c)
			p := open(t, c)
			if err := pullRole(ctx, p, fault.RoleTrust); err != nil {
				t.Fatal(err)
			}
			before := p.Status()
			next := c
			next.Args = append([]string{}, c.Args...)
			tt.set(&next)
			if _, err := p.Replace(ctx, next); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("replace: %v, want %v that says %q", err, tt.is, tt.says)
			}
			if s := p.Status(); s.PID != before.PID || s.Digest != before.Digest || s.State != plugin.Serving {
				t.Errorf("status %+v", s)
			}
			if err := pullRole(ctx, p, fault.RoleIdentity); err != nil {
				t.Error(err)
			}
			restart(t, p)
			if err := pullRole(ctx, p, fault.RoleKey); err != nil {
				t.Error(err)
			}
			if n := events.count(plugin.EventRefused); n != 1 {
				t.Errorf("%d refusals in %v", n, events.kinds())
			}
		})
	}
}
