package stepca_test

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/providers/stepca"
	"github.com/alphaonedev/federation/providers/stepca/stepcaplugin"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// The test binary is the plugin, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "plugin" {
		(&plugin.Server{Name: "stepca", Configure: configureDue, Validate: func(s plugin.Settings) error {
			delete(s.Values, "due")
			return stepcaplugin.Validate(s)
		}}).Serve()
		return
	}
	os.Exit(m.Run())
}

// configureDue is stepcaplugin.Configure, and makes material due whenever the file that the setting "due" names changes.
func configureDue(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
	file := s.Values["due"]
	delete(s.Values, "due")
	p, err := stepcaplugin.Configure(ctx, s)
	if err != nil {
		return p, err
	}
	var mu sync.Mutex
	last := map[any]string{}
	changed := func(who any) bool {
		mu.Lock()
		defer mu.Unlock()
		raw, _ := os.ReadFile(file)
		was := last[who]
		last[who] = string(raw)
		return was != string(raw)
	}
	if i, ok := p.Identity.(*stepca.Identity); ok {
		p.Identity = identityFunc(func(ctx context.Context) (*sdk.Identity, error) {
			if changed(i) {
				stepca.MakeDue(i)
			}
			return i.Identity(ctx)
		})
	}
	if k, ok := p.Key.(*stepca.Key); ok {
		p.Key = keyFunc(func(ctx context.Context) (*sdk.KeySet, error) {
			if changed(k) {
				stepca.MakeKeyDue(k)
			}
			return k.SigningKeys(ctx)
		})
	}
	return p, nil
}

type (
	identityFunc func(context.Context) (*sdk.Identity, error)
	keyFunc      func(context.Context) (*sdk.KeySet, error)
)

func (f identityFunc) Identity(ctx context.Context) (*sdk.Identity, error) { return f(ctx) }
func (f keyFunc) SigningKeys(ctx context.Context) (*sdk.KeySet, error)     { return f(ctx) }

// A rig is a CA and the providers over it, in this process or as a plugin.
type rig struct {
	asPlugin bool
	ca       *stepcatest.CA
	identity *stepca.Identity
	key      *stepca.Key
	due      string // file
	n        int
}

func (r *rig) start(t testing.TB) {
	t.Helper()
	ca, err := stepcatest.Start(stepcatest.Options{Intermediates: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	r.ca = ca
}

func (r *rig) client(t testing.TB) *stepca.Client {
	c := stepca.New(stepca.Config{URL: r.ca.URL, Fingerprint: r.ca.Fingerprint(), Timeout: 5 * time.Second})
	t.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) plugin(t testing.TB) *plugin.Plugin {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.due = filepath.Join(t.TempDir(), "due")
	p, err := plugin.Open(t.Context(), plugin.Config{
		Path: path, Unpinned: true, Args: []string{"plugin"},
		Settings: map[string]string{
			stepcaplugin.URL: r.ca.URL, stepcaplugin.Fingerprint: r.ca.Fingerprint(), stepcaplugin.Timeout: "5s",
			stepcaplugin.Names: "a.example", stepcaplugin.Provisioner: stepcatest.Nodes, stepcaplugin.KeyX5CProvisioner: stepcatest.Vouch,
			"due": r.due,
		},
		Secrets: map[string]plugin.Secret{stepcaplugin.Password: stepcatest.Password},
		Limits:  plugin.Limits{Start: time.Minute}, // a test binary of this size starts slowly under -race
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func (r *rig) makeDue(t testing.TB) {
	t.Helper()
	switch {
	case r.asPlugin:
		r.n++
		if err := os.WriteFile(r.due, []byte(strconv.Itoa(r.n)), 0o600); err != nil {
			t.Fatal(err)
		}
	case r.identity != nil:
		stepca.MakeDue(r.identity)
	case r.key != nil:
		stepca.MakeKeyDue(r.key)
	}
}

func (r *rig) stop(t testing.TB) error {
	t.Helper()
	if err := r.ca.Stop(); err != nil {
		t.Fatal(err)
	}
	r.makeDue(t)
	return sdk.ErrUnavailable
}

func (r *rig) mend(t testing.TB) {
	t.Helper()
	if err := r.ca.Start(); err != nil {
		t.Fatal(err)
	}
}

// backend tells the CA's own goroutines from the provider's.
func backend(stack string) bool {
	return strings.Contains(stack, "stepcatest") || strings.Contains(stack, "net/http.(*conn).serve") ||
		strings.Contains(stack, "net/http.(*connReader)") || strings.Contains(stack, "smallstep/certificates/authority")
}

func password(context.Context) ([]byte, error) { return []byte(stepcatest.Password), nil }

func TestConformance(t *testing.T) {
	for _, asPlugin := range []bool{false, true} {
		name := "in process"
		if asPlugin {
			name = "as a plugin"
		}
		t.Run(name, func(t *testing.T) {
			t.Run("trust", func(t *testing.T) { conformTrust(t, asPlugin) })
			t.Run("identity", func(t *testing.T) { conformIdentity(t, asPlugin) })
			t.Run("key", func(t *testing.T) { conformKey(t, asPlugin) })
		})
	}
}

func conformTrust(t *testing.T, asPlugin bool) {
	r := &rig{asPlugin: asPlugin}
	h := providertest.TrustHarness{
		New: func(t testing.TB) sdk.TrustProvider {
			r.start(t)
			if !asPlugin {
				return r.client(t).Trust(stepca.TrustConfig{})
			}
			p, err := r.plugin(t).Trust()
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		Rotate: func(t testing.TB) {
			if err := r.ca.Restart(func() { r.ca.Roots = append(r.ca.Roots, sdktest.NewCA(t)) }); err != nil {
				t.Fatal(err)
			}
		},
		Break: r.stop, Mend: r.mend, Secrets: []string{stepcatest.Password}, IgnoreGoroutine: backend,
	}
	if !asPlugin {
		h.Invalid = func(t testing.TB) sdk.TrustProvider {
			return stepca.New(stepca.Config{URL: "http://ca.example"}).Trust(stepca.TrustConfig{})
		}
	}
	providertest.Trust(t, h)
}

func conformIdentity(t *testing.T, asPlugin bool) {
	r := &rig{asPlugin: asPlugin}
	h := providertest.IdentityHarness{
		New: func(t testing.TB) sdk.IdentityProvider {
			r.start(t)
			if asPlugin {
				p, err := r.plugin(t).Identity()
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			r.identity = r.client(t).Identity(stepca.IdentityConfig{
				Names: []string{"a.example"}, Enrolment: stepca.JWK{Provisioner: stepcatest.Nodes, Password: password},
			})
			return r.identity
		},
		Rotate: r.makeDue, Break: r.stop, Mend: r.mend, Secrets: []string{stepcatest.Password}, IgnoreGoroutine: backend,
	}
	if !asPlugin {
		h.Invalid = func(t testing.TB) sdk.IdentityProvider {
			return stepca.New(stepca.Config{}).Identity(stepca.IdentityConfig{})
		}
	}
	providertest.Identity(t, h)
}

func conformKey(t *testing.T, asPlugin bool) {
	r := &rig{asPlugin: asPlugin}
	h := providertest.KeyHarness{
		New: func(t testing.TB) sdk.KeyProvider {
			r.start(t)
			if asPlugin {
				p, err := r.plugin(t).Key()
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			r.key = r.client(t).Key(stepca.KeyConfig{
				Names: []string{"a.example"}, Enrolment: stepca.JWK{Provisioner: stepcatest.Keys, Password: password},
			})
			return r.key
		},
		Rotate: r.makeDue, Break: r.stop, Mend: r.mend, Secrets: []string{stepcatest.Password}, IgnoreGoroutine: backend,
	}
	if !asPlugin {
		h.Invalid = func(t testing.TB) sdk.KeyProvider { return stepca.New(stepca.Config{}).Key(stepca.KeyConfig{}) }
	}
	providertest.Key(t, h)
}

func TestThePluginPassesOnTheChainOfTheSigningKey(t *testing.T) {
	r := &rig{asPlugin: true}
	r.start(t)
	k, err := r.plugin(t).Key()
	if err != nil {
		t.Fatal(err)
	}
	set, err := k.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Chains) != 1 || len(set.Chains[0]) != 3 {
		t.Fatalf("%d chains, want one of three certificates", len(set.Chains))
	}
	if pub, ok := set.Chains[0][0].PublicKey.(ed25519.PublicKey); !ok || !pub.Equal(set.Active.Public()) {
		t.Error("the chain is for another key")
	}
}
