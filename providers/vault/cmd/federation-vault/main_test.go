package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// The test binary is the plugin, too: started with the argument "plugin", it does what main does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "plugin" {
		main()
	}
	goleak.VerifyTestMain(m)
}

var self = sync.OnceValues(func() (string, string) {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		panic(err)
	}
	return path, hex.EncodeToString(h.Sum(nil))
})

// A rig is a Vault and the settings for a node that uses it.
type rig struct {
	*vaulttest.Server
	settings map[string]string
	secretID string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{Server: vaulttest.Start(t)}
	r.PKI(t, "pki")
	r.Transit(t, "transit", "node-a")
	r.EnableAuth(t, "approle", "approle")
	r.Policy(t, "node", vaulttest.NodePolicy("pki", "node", "transit", "node-a"))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, sdktest.CertPEM(r.Roots...), 0o600); err != nil {
		t.Fatal(err)
	}
	r.settings = map[string]string{
		"address": r.URL, "ca": ca, "trust": "pki", "role": "node", "dns": "a.example", "uris": "spiffe://example/a",
		"key": "node-a", "announce": "-1s", "refresh": "100ms",
	}
	r.settings["role-id"] = r.AppRole(t, "node", "node", nil)
	r.secretID = r.SecretID(t, "node")
	return r
}

func (r *rig) open(t testing.TB) *plugin.Plugin {
	t.Helper()
	path, digest := self()
	p, err := plugin.Open(t.Context(), plugin.Config{
		Path: path, SHA256: digest, Args: []string{"plugin"},
		Settings: r.settings, Secrets: map[string]plugin.Secret{"secret-id": plugin.Secret(r.secretID)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// role gives one role of a freshly opened plugin.
func role[P any](r *rig, get func(*plugin.Plugin) (P, error)) func(testing.TB) P {
	return func(t testing.TB) P {
		t.Helper()
		p, err := get(r.open(t))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

func TestTrustConformsAsAPlugin(t *testing.T) {
	r := newRig(t)
	providertest.Trust(t, providertest.TrustHarness{
		New: role(r, (*plugin.Plugin).Trust),
		Rotate: func(t testing.TB) {
			r.Write(t, "pki/root/generate/internal", map[string]any{"common_name": "Another", "key_type": "ec", "ttl": "8760h"})
		},
		Break:   func(t testing.TB) error { r.Seal(t); return sdk.ErrUnavailable },
		Mend:    func(t testing.TB) { r.Unseal(t) },
		Secrets: []string{r.secretID, r.Root},
	})
}

// A certificate is neither renewed nor lost before it is due, so there is nothing to rotate or break here.
func TestIdentityConformsAsAPlugin(t *testing.T) {
	r := newRig(t)
	providertest.Identity(t, providertest.IdentityHarness{
		New:     role(r, (*plugin.Plugin).Identity),
		Secrets: []string{r.secretID, r.Root},
	})
}

func TestKeyConformsAsAPlugin(t *testing.T) {
	r := newRig(t)
	providertest.Key(t, providertest.KeyHarness{
		New:     role(r, (*plugin.Plugin).Key),
		Rotate:  func(t testing.TB) { r.Write(t, "transit/keys/node-a/rotate", nil) },
		Break:   func(t testing.TB) error { r.Seal(t); return sdk.ErrUnavailable },
		Mend:    func(t testing.TB) { r.Unseal(t) },
		Secrets: []string{r.secretID, r.Root},
	})
}

func TestSettingsThatCannotWork(t *testing.T) {
	for name, test := range map[string]struct {
		values map[string]string
		words  []string
	}{
		"misspelt":       {map[string]string{"address": "https://v.example", "adress": "x", "trust": "pki"}, []string{"adress"}},
		"no address":     {map[string]string{"trust": "pki"}, []string{"Address"}},
		"no duration":    {map[string]string{"address": "https://v.example", "trust": "pki", "refresh": "soon"}, []string{"refresh", "soon"}},
		"no flag":        {map[string]string{"address": "https://v.example", "trust": "pki", "crls": "perhaps"}, []string{"crls", "perhaps"}},
		"no IP":          {map[string]string{"address": "https://v.example", "role": "node", "ips": "1.2.3"}, []string{"ips", "1.2.3"}},
		"two logins":     {map[string]string{"address": "https://v.example", "trust": "pki", "token-file": "t", "role-id": "r"}, []string{"more than one"}},
		"identity alone": {map[string]string{"address": "https://v.example", "role": "node"}, []string{"DNS"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate(plugin.Settings{Values: test.values})
			if !errors.Is(err, sdk.ErrConfig) {
				t.Fatalf("error %v does not wrap ErrConfig", err)
			}
			for _, w := range test.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

func TestEverySettingIsUsed(t *testing.T) {
	p, err := configure(t.Context(), plugin.Settings{Values: map[string]string{
		"address": "https://v.example", "namespace": "a", "login-namespace": "b", "server-name": "n", "timeout": "3s",
		"kubernetes-role": "node", "kubernetes": "k8s", "service-account": "/token",
		"trust": "pki, pki-b", "issuers": "root-1", "crls": "false", "refresh": "1m",
		"role": "node", "pki": "pki", "issuer": "root-1", "dns": "a.example", "uris": "spiffe://x/y", "ips": "10.0.0.1,::1", "ttl": "24h",
		"key": "k", "transit": "t", "announce": "2m", "overlap": "3h", "export": "true",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Trust == nil || p.Identity == nil || p.Key == nil {
		t.Error("a role is missing")
	}
	for _, auth := range []map[string]string{
		{"token-file": "/token"},
		{"jwt-file": "/jwt", "jwt-role": "node", "jwt": "oidc"},
		{"role-id": "r", "approle": "approle", "secret-id-file": "/id", "wrapped": "true"},
	} {
		auth["address"], auth["trust"] = "https://v.example", "pki"
		if err := validate(plugin.Settings{Values: auth}); err != nil {
			t.Errorf("%v: %v", auth, err)
		}
	}
	if err := validate(plugin.Settings{
		Values:  map[string]string{"address": "https://v.example", "trust": "pki"},
		Secrets: map[string]plugin.Secret{"token": "hvs.x"},
	}); err != nil {
		t.Error(err)
	}
}
