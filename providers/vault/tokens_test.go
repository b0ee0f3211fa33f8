package vault_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
)

func TestOneLoginServesAllThree(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for name, pull := range r.pulls(r.client) {
		for range 10 {
			wg.Go(func() {
				if err := pull(t); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	wg.Wait()
	if n := r.proxy.Count("auth/approle/login"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func TestARevokedTokenIsReplacedWithoutAFailedSignature(t *testing.T) {
	r := newRig(t)
	set := pull(t, r.client.Key(keyOptions()))
	for range 3 {
		r.Write(t, "auth/token/revoke-accessor", map[string]any{"accessor": newestAccessor(t, r)})
		r.proxy.Reset()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := set.Active.Sign(t.Context(), []byte("m")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := r.proxy.Count("auth/approle/login"); n != 1 {
			t.Errorf("%d logins after the token was revoked, want 1", n)
		}
	}
}

// Older versions of Vault refuse a dead token as they refuse a missing right.
func TestARevokedTokenIsReplacedWhereVaultDoesNotSayThatItIsDead(t *testing.T) {
	r := newRig(t)
	r.proxy.Edit(func(_ string, body []byte) []byte { return bytes.ReplaceAll(body, []byte("invalid token"), nil) })
	set := pull(t, r.client.Key(keyOptions()))
	for range 3 {
		r.Write(t, "auth/token/revoke-accessor", map[string]any{"accessor": newestAccessor(t, r)})
		r.proxy.Reset()
		if _, err := set.Active.Sign(t.Context(), []byte("m")); err != nil {
			t.Error(err)
		}
		if n := r.proxy.Count("auth/approle/login"); n != 1 {
			t.Errorf("%d logins after the token was revoked, want 1", n)
		}
	}
}

// A token without the policy "default" may not look itself up, so that a missing right could be its death. Logins in
// vain grow rare.
func TestAMissingRightOfATokenThatCannotBeLookedUpMakesFewLogins(t *testing.T) {
	r := newRig(t)
	role := r.AppRole(t, "bare", "node", map[string]any{"token_no_default_policy": true})
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = &vault.AppRole{RoleID: role, SecretID: r.SecretID(t, "bare")} })
	set := pull(t, c.Key(keyOptions()))
	r.Policy(t, "node", `path "transit/keys/node-a" { capabilities = ["read"] }`)
	r.proxy.Reset()
	begun := time.Now()
	for range 50 {
		_, err := set.Active.Sign(t.Context(), []byte("m"))
		wantError(t, err, sdk.ErrPermission, "transit/sign/node-a")
	}
	// The second after 2 s, the third after 4 s more, …
	if n, most := r.proxy.Count("auth/approle/login"), 1+int(time.Since(begun)/(2*time.Second)); n < 1 || n > most {
		t.Errorf("%d logins, want 1 to %d", n, most)
	}
}

// newestAccessor is that of the client's own token: the only one with the policy "node".
func newestAccessor(t *testing.T, r *rig) string {
	t.Helper()
	list, err := r.Client(t).Logical().ListWithContext(t.Context(), "auth/token/accessors")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list.Data["keys"].([]any) {
		about := r.Write(t, "auth/token/lookup-accessor", map[string]any{"accessor": a})
		for _, p := range about["policies"].([]any) {
			if p == "node" {
				return a.(string)
			}
		}
	}
	t.Fatal("no token has the policy node")
	return ""
}

// That a token lived when one thing was refused does not mean that it does when the next is.
func TestATokenThatDiesAfterARefusalIsReplaced(t *testing.T) {
	r := newRig(t)
	r.proxy.Edit(func(_ string, body []byte) []byte { return bytes.ReplaceAll(body, []byte("invalid token"), nil) }) // Vault 1.16
	set := pull(t, r.client.Key(keyOptions()))
	_, err := r.client.Key(vault.KeyOptions{Name: "forbidden"}).SigningKeys(t.Context())
	wantError(t, err, sdk.ErrPermission)
	r.Write(t, "auth/token/revoke-accessor", map[string]any{"accessor": newestAccessor(t, r)})
	mustSign(t, set, "m")
}

func TestTokensOfOneUseServeManyAtOnce(t *testing.T) {
	r := newRig(t)
	if r.Older {
		return // it does not say that a token is used up, and what may be a missing right is not doubted at each request
	}
	role := r.AppRole(t, "once", "node", map[string]any{"token_num_uses": 1})
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = &vault.AppRole{RoleID: role, SecretID: r.SecretID(t, "once")} })
	o := keyOptions()
	o.MaxBatch, o.Patience = 1, 20*time.Second // Vault itself answers 500 where two use a token at once
	set := pull(t, c.Key(o))
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := set.Active.Sign(t.Context(), []byte("m")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestATokenWithAUseLimitIsReplaced(t *testing.T) {
	r := newRig(t)
	role := r.AppRole(t, "few", "node", map[string]any{"token_num_uses": 3})
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = &vault.AppRole{RoleID: role, SecretID: r.SecretID(t, "few")} })
	set := pull(t, c.Key(keyOptions()))
	for i := range 12 {
		if _, err := set.Active.Sign(t.Context(), []byte("m")); err != nil {
			t.Fatalf("signature %d: %v", i, err)
		}
	}
}

func TestAShortTokenIsRenewedAndThenReplaced(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := newRig(t)
	role := r.AppRole(t, "short", "node", map[string]any{"token_ttl": "4s", "token_max_ttl": "8s"})
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = &vault.AppRole{RoleID: role, SecretID: r.SecretID(t, "short")} })
	key := c.Key(keyOptions())
	set := pull(t, key)
	if set.RefreshAfter > 4*time.Second {
		t.Errorf("RefreshAfter %v outlives the token, which is good for 4s", set.RefreshAfter)
	}
	r.proxy.Reset()
	begun := time.Now()
	within(t, "a renewal and a login", func() bool {
		if _, err := set.Active.Sign(t.Context(), []byte("m")); err != nil {
			t.Fatal(err)
		}
		return r.proxy.Count("auth/token/renew-self") > 0 && r.proxy.Count("auth/approle/login") > 0
	})
	if n, most := r.proxy.Count("auth/approle/login"), 1+int(time.Since(begun)/time.Second); n > most {
		t.Errorf("%d logins with tokens that live a second at least, want %d at most", n, most)
	}
}

func TestAGivenTokenThatDiesIsExpired(t *testing.T) {
	r := newRig(t)
	token := r.Token(t, "node", &api.TokenCreateRequest{TTL: "1h"})
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = &vault.Token{Value: token} })
	set := pull(t, c.Key(keyOptions()))
	r.Write(t, "auth/token/revoke", map[string]any{"token": token})
	_, err := set.Active.Sign(t.Context(), []byte("m"))
	if r.Older {
		wantError(t, err, sdk.ErrPermission, "if the token lives")
		return
	}
	wantError(t, err, sdk.ErrExpired, "give another")
}

func TestAPolicyThatForbidsIsPermissionAndNoReasonToLogInAgain(t *testing.T) {
	r := newRig(t)
	set := pull(t, r.client.Key(keyOptions()))
	r.Policy(t, "node", `path "transit/keys/node-a" { capabilities = ["read"] }`)
	for range 5 {
		_, err := set.Active.Sign(t.Context(), []byte("m"))
		wantError(t, err, sdk.ErrPermission, "transit/sign/node-a")
	}
	_, err := r.client.Identity(identityOptions()).Identity(t.Context())
	wantError(t, err, sdk.ErrPermission, "pki/sign/node")
	if n := r.proxy.Count("auth/approle/login"); n != 1 {
		t.Errorf("%d logins, want the first one only", n)
	}
	if n := r.proxy.Count("lookup-self"); n > 2 {
		t.Errorf("%d look-ups of the token, want at most one for each thing that is forbidden", n)
	}
}

func TestFailedLoginsAreHeldOff(t *testing.T) {
	r := newRig(t)
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = &vault.AppRole{RoleID: r.auth.RoleID, SecretID: "wrong-one"} })
	key := c.Key(keyOptions())
	r.proxy.Set(vaulttest.Status("auth/approle/login", 429, "7", "request path quota exceeded"))
	for i := range 50 {
		_, err := key.SigningKeys(t.Context())
		pe := wantError(t, err, sdk.ErrUnavailable, "quota")
		if i == 0 && pe.RetryAfter != 7*time.Second {
			t.Errorf("RetryAfter %v, want Vault's 7s", pe.RetryAfter)
		}
		if pe.RetryAfter <= 0 || pe.RetryAfter > 7*time.Second {
			t.Errorf("RetryAfter %v while logins are held off", pe.RetryAfter)
		}
	}
	if n := r.proxy.Count("auth/approle/login"); n != 1 {
		t.Errorf("%d logins within the 7 s that Vault asked for, want 1", n)
	}
}
