package plugin_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestConfigurePutsOtherSettingsInForce(t *testing.T) {
	c, _ := material(t, config(t, "good"))
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	ca := sdktest.NewCA(t)
	if err := p.Configure(ctx, map[string]string{"roots": string(ca.PEM())}, c.Secrets); err != nil {
		t.Fatal(err)
	}
	b := must(must(p.Trust()).TrustBundle(ctx))
	if !b.Roots[0].Equal(ca.Certificate) || p.Status().Revision != 2 {
		t.Errorf("roots %v, status %+v", b.Roots, p.Status())
	}
	// They hold for the next process too.
	restart(t, p)
	if b := must(must(p.Trust()).TrustBundle(ctx)); !b.Roots[0].Equal(ca.Certificate) {
		t.Error("the next process has the settings of before")
	}
}

func TestARefusedConfigurationLeavesTheOldInForce(t *testing.T) {
	c, ca := material(t, config(t, "good"))
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	for name, settings := range map[string]map[string]string{
		"unknown setting": {"rots": string(ca.PEM())},
		"bad value":       {"roots": "nonsense"},
		"nothing":         nil,
	} {
		secrets := c.Secrets
		if settings == nil {
			secrets = nil
		}
		err := p.Configure(ctx, settings, secrets)
		if !errors.Is(err, fault.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
		if name == "unknown setting" {
			if ce, ok := errors.AsType[*fault.ConfigError](err); !ok || ce.Field != "rots" {
				t.Errorf("%v does not name the field", err)
			}
		}
		if b, err := must(p.Trust()).TrustBundle(ctx); err != nil || !b.Roots[0].Equal(ca.Certificate) {
			t.Errorf("%s: %v %v", name, b, err)
		}
	}
	restart(t, p)
	if err := pullRole(ctx, p, fault.RoleKey); err != nil {
		t.Error(err)
	}
}

func TestConfigureIsSafeForConcurrentUse(t *testing.T) {
	c, _ := material(t, config(t, "good"))
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i%2 == 0 {
				if err := p.Configure(ctx, c.Settings, c.Secrets); err != nil {
					t.Error(err)
				}
			} else if err := pullRole(ctx, p, fault.RoleIdentity); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r := p.Status().Revision; r != 5 {
		t.Errorf("revision %d after four changes, want 5", r)
	}
}

// restart has the supervisor start another process.
func restart(t testing.TB, p *plugin.Plugin) {
	t.Helper()
	s := p.Status()
	killProcess(t, s.PID)
	eventually(t, "another process serves", func() bool {
		now := p.Status()
		return now.State == plugin.Serving && now.Generation > s.Generation
	})
}

func TestSecretsAppearNowhere(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	var mu sync.Mutex
	var log bytes.Buffer
	c := config(t, "blabs")
	nothingLeft(t, &c)
	c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &log, Mutex: &mu, JSONFormat: true})
	c.Secrets = map[string]plugin.Secret{"token": secret, "quoted": `a"b\c` + secret}
	p := open(t, c)
	err := pullRole(within(t), p, fault.RoleTrust)
	if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "[secret]") {
		t.Errorf("pull: %v", err)
	}
	eventually(t, "what it logs has come", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(log.String(), "the end")
	})
	if err := p.Configure(within(t), nil, map[string]plugin.Secret{"token": "another-secret-of-ours"}); err == nil ||
		strings.Contains(err.Error(), "another-secret") {
		t.Errorf("configure: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s %q %x", p, p, p, p, p, p); strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
		t.Error("a Plugin prints the secrets in force")
	}
	_ = p.Close()
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(log.String(), secret) || strings.Contains(log.String(), "another-secret") {
		t.Errorf("the log has the secret:\n%s", log.String())
	}
	if s := fmt.Sprintf("%v %+v %#v %s %q %x", c.Secrets, c, c, c.Secrets["token"], c.Secrets["token"], c.Secrets["token"]); strings.Contains(s, secret) ||
		strings.Contains(s, fmt.Sprintf("%x", secret)) {
		t.Error("a secret prints")
	}
}
