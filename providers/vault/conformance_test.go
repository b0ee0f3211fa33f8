package vault_test

import (
	"testing"
	"time"

	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/providertest"
)

// direct connects without the proxy, whose goroutines are not the provider's.
func (r *rig) direct(t testing.TB) *vault.Client {
	return r.connect(t, func(c *vault.Config) { c.Address = r.URL })
}

func invalid() *vault.Client { return vault.New(vault.Config{}) }

func TestTrustConforms(t *testing.T) {
	r := newRig(t)
	providertest.Trust(t, providertest.TrustHarness{
		New:     func(t testing.TB) sdk.TrustProvider { return r.direct(t).Trust(vault.TrustOptions{}) },
		Invalid: func(testing.TB) sdk.TrustProvider { return invalid().Trust(vault.TrustOptions{}) },
		Rotate: func(t testing.TB) {
			r.Write(t, "pki/root/generate/internal", map[string]any{"common_name": "Another", "key_type": "ec", "ttl": "8760h"})
		},
		Break:   func(t testing.TB) error { r.Seal(t); return sdk.ErrUnavailable },
		Mend:    func(t testing.TB) { r.Unseal(t) },
		Secrets: []string{r.auth.SecretID, r.Root},
	})
}

func TestIdentityConforms(t *testing.T) {
	r := newRig(t)
	var latest *vault.Identity
	providertest.Identity(t, providertest.IdentityHarness{
		New: func(t testing.TB) sdk.IdentityProvider {
			latest = r.direct(t).Identity(identityOptions())
			return latest
		},
		Invalid: func(testing.TB) sdk.IdentityProvider { return invalid().Identity(vault.IdentityOptions{}) },
		Rotate:  func(testing.TB) { latest.Renew() },
		Break: func(t testing.TB) error {
			r.Seal(t)
			latest.Renew()
			return sdk.ErrUnavailable
		},
		Mend:    func(t testing.TB) { r.Unseal(t) },
		Secrets: []string{r.auth.SecretID, r.Root},
	})
}

func TestKeyConforms(t *testing.T) {
	for name, export := range map[string]bool{"signing in Vault": false, "exported": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.TransitKey(t, "transit", "k", map[string]any{"exportable": true})
			r.Policy(t, "node", `path "transit/*" { capabilities = ["read", "update"] }`)
			providertest.Key(t, providertest.KeyHarness{
				New: func(t testing.TB) sdk.KeyProvider {
					return r.direct(t).Key(vault.KeyOptions{Name: "k", Announce: -1, Export: export, RefreshAfter: 50 * time.Millisecond})
				},
				Invalid: func(testing.TB) sdk.KeyProvider { return invalid().Key(vault.KeyOptions{}) },
				Rotate:  func(t testing.TB) { r.Write(t, "transit/keys/k/rotate", nil) },
				Break:   func(t testing.TB) error { r.Seal(t); return sdk.ErrUnavailable },
				Mend:    func(t testing.TB) { r.Unseal(t) },
				Secrets: []string{r.auth.SecretID, r.Root},
			})
		})
	}
}
