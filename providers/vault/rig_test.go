package vault_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
)

func TestMain(m *testing.M) {
	if os.Getenv("VAULT_COMMAND") != "" { // see TestTheWalkThroughWorks
		if err := vaultCommand(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// A rig is a Vault with the mounts and the least policy of docs/vault.md, and a client that logs in by
// AppRole through a proxy that can fail.
type rig struct {
	*vaulttest.Server
	proxy  *vaulttest.Proxy
	auth   *vault.AppRole
	client *vault.Client
	log    *lockedLog
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{Server: vaulttest.Start(t), log: &lockedLog{}}
	r.PKI(t, "pki")
	r.Transit(t, "transit", "node-a")
	r.EnableAuth(t, "approle", "approle")
	r.Policy(t, "node", vaulttest.NodePolicy("pki", "node", "transit", "node-a"))
	r.auth = &vault.AppRole{RoleID: r.AppRole(t, "node", "node", nil), SecretID: r.SecretID(t, "node")}
	r.proxy = r.Proxy(t)
	r.client = r.connect(t, nil)
	return r
}

// connect makes a client through the proxy. change may alter its configuration.
func (r *rig) connect(t testing.TB, change func(*vault.Config)) *vault.Client {
	t.Helper()
	cfg := vault.Config{Address: r.proxy.URL, Roots: r.Roots, Auth: r.auth, Logger: hclog.New(&hclog.LoggerOptions{Output: r.log, Level: hclog.Debug})}
	if change != nil {
		change(&cfg)
	}
	c := vault.New(cfg)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func identityOptions() vault.IdentityOptions {
	return vault.IdentityOptions{Role: "node", DNS: []string{"a.example"}, URIs: []string{"spiffe://example/a"}}
}

func keyOptions() vault.KeyOptions {
	return vault.KeyOptions{Name: "node-a", Announce: -1, Patience: -1}
}

// roles are the three pulls, for faults that must look the same in each.
func (r *rig) pulls(c *vault.Client) map[string]func(t *testing.T) error {
	trust, identity, key := c.Trust(vault.TrustOptions{}), c.Identity(identityOptions()), c.Key(keyOptions())
	return map[string]func(t *testing.T) error{
		"trust":    func(t *testing.T) error { _, err := trust.TrustBundle(t.Context()); return err },
		"identity": func(t *testing.T) error { _, err := identity.Identity(t.Context()); return err },
		"key":      func(t *testing.T) error { _, err := key.SigningKeys(t.Context()); return err },
	}
}

// wantError checks the sentinel and the words of an error, and that it is a ProviderError.
func wantError(t *testing.T, err, want error, words ...string) *sdk.ProviderError {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that wraps %q", want)
	}
	if !errors.Is(err, want) {
		t.Fatalf("error %q does not wrap %q", err, want)
	}
	for _, other := range []error{sdk.ErrNotFound, sdk.ErrUnavailable, sdk.ErrPermission, sdk.ErrExpired, sdk.ErrConfig, sdk.ErrMaterial} {
		if other != want && errors.Is(err, other) {
			t.Errorf("error %q wraps %q too, want only %q", err, other, want)
		}
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	pe, ok := errors.AsType[*sdk.ProviderError](err)
	if !ok {
		t.Fatalf("error %T is no *sdk.ProviderError", err)
	}
	return pe
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}
