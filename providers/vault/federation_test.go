package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// A fleet is three nodes whose trust, identity and signatures come from one Vault, and that push to one another
// all the time.
type fleet struct {
	*rig
	mesh       *sdktest.MeshNetwork
	identities []*vault.Identity
	rules      string // of the policy of all nodes

	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	pushed int
	failed []error
}

type fleetOptions struct {
	export   bool
	patience time.Duration
	timeout  time.Duration
}

// newFleet starts the nodes and their traffic. Every push must be acknowledged by all three nodes.
func newFleet(t *testing.T, o fleetOptions) *fleet {
	t.Helper()
	f := &fleet{rig: newRig(t)}
	var rules strings.Builder
	rules.WriteString(`path "pki/sign/node" { capabilities = ["update"] }` + "\n")
	for i := range 3 {
		key := fmt.Sprintf("mesh-%d", i)
		f.TransitKey(t, "transit", key, map[string]any{"exportable": o.export})
		rules.WriteString(vaulttest.NodePolicy("pki", "node", "transit", key))
		fmt.Fprintf(&rules, "path \"transit/export/signing-key/%s/*\" { capabilities = [\"read\"] }\n", key)
	}
	f.rules = rules.String()
	f.Policy(t, "node", f.rules)
	f.mesh = sdktest.Mesh(t, 3, sdktest.MeshOptions{Writes: 3, Configure: func(i int, b *sdk.Builder) {
		c := f.connect(t, func(cfg *vault.Config) { cfg.Timeout = o.timeout })
		b.Trust = c.Trust(vault.TrustOptions{RefreshAfter: 200 * time.Millisecond})
		f.identities = append(f.identities, c.Identity(vault.IdentityOptions{Role: "node", DNS: []string{fmt.Sprintf("node-%d.mesh", i)}}))
		b.Identity = f.identities[i]
		b.Key = c.Key(vault.KeyOptions{
			Name: fmt.Sprintf("mesh-%d", i), Announce: time.Second, RefreshAfter: 200 * time.Millisecond,
			Export: o.export, Patience: o.patience,
		})
		b.Quorum.AckTimeout = 20 * time.Second
	}})
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	for i, n := range f.mesh.Nodes {
		f.done.Go(func() { f.traffic(ctx, i, n) })
	}
	t.Cleanup(func() { f.halt() })
	f.moves(t)
	return f
}

func (f *fleet) traffic(ctx context.Context, i int, n *sdktest.MeshNode) {
	for count := 0; ctx.Err() == nil; count++ {
		wait, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		_, err := n.Push(wait, sdk.Message{Body: fmt.Appendf(nil, "%d of %d", count, i)})
		cancel()
		f.mu.Lock()
		if f.pushed++; err != nil {
			f.failed = append(f.failed, fmt.Errorf("push %d of node %d: %w", count, i, err))
		}
		f.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// halt ends the traffic and returns the pushes that failed.
func (f *fleet) halt() []error {
	f.stop()
	f.done.Wait()
	return f.failed
}

// moves waits until every node has pushed on.
func (f *fleet) moves(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	from := f.pushed
	f.mu.Unlock()
	within(t, "traffic", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.pushed >= from+30
	})
}

// nothingFailed ends the test: no push failed, and nothing was refused by a peer.
func (f *fleet) nothingFailed(t *testing.T) {
	t.Helper()
	f.moves(t)
	for i, err := range f.halt() {
		t.Error(err)
		if i == 5 {
			t.Fatalf("… %d failures in all", len(f.failed))
		}
	}
	for _, n := range f.mesh.Nodes {
		for tag, count := range n.Status().Denied {
			if tag == signer.TagSignAgain { // how two processes that have just met begin
				continue
			}
			t.Errorf("%s refused %d requests as %s", n.ID(), count, tag)
		}
	}
	t.Logf("%d pushes, each acknowledged by all three nodes", f.pushed)
}

// within waits for what Status says to become so, and shows it where it does not.
func (f *fleet) within(t *testing.T, what string, ok func(sdk.Status) bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for slices.ContainsFunc(f.statuses(), func(s sdk.Status) bool { return !ok(s) }) {
		if time.Now().After(deadline) {
			for i, s := range f.statuses() {
				for _, m := range []sdk.MaterialStatus{s.Trust, *s.Identity, *s.Key} {
					t.Logf("node %d: %+v", i, m)
				}
				t.Logf("node %d holds %+v", i, s.Held)
			}
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (f *fleet) statuses() []sdk.Status {
	var all []sdk.Status
	for _, n := range f.mesh.Nodes {
		all = append(all, n.Status())
	}
	return all
}

func TestFederationSurvivesKeyRotationAndTrimming(t *testing.T) {
	f := newFleet(t, fleetOptions{})
	before := f.statuses()
	for i := range 3 {
		f.Write(t, fmt.Sprintf("transit/keys/mesh-%d/rotate", i), nil)
	}
	within(t, "the announced keys to sign", func() bool {
		for i, s := range f.statuses() {
			if s.SigningKey == before[i].SigningKey {
				return false
			}
		}
		return true
	})
	f.moves(t)
	// And without any warning: rotated and trimmed while messages are in flight.
	for i := range 3 {
		f.Write(t, fmt.Sprintf("transit/keys/mesh-%d/rotate", i), nil)
		f.Write(t, fmt.Sprintf("transit/keys/mesh-%d/config", i), map[string]any{"min_decryption_version": 3, "min_encryption_version": 3})
		f.Write(t, fmt.Sprintf("transit/keys/mesh-%d/trim", i), map[string]any{"min_available_version": 3})
	}
	f.nothingFailed(t)
}

func TestFederationSurvivesKeysThatAreReplaced(t *testing.T) {
	f := newFleet(t, fleetOptions{patience: 20 * time.Second})
	backups := make([]any, len(f.mesh.Nodes))
	for i := range backups {
		key := fmt.Sprintf("transit/keys/mesh-%d", i)
		f.Write(t, key+"/config", map[string]any{"deletion_allowed": true, "exportable": true, "allow_plaintext_backup": true})
		secret, err := f.Client(t).Logical().ReadWithContext(t.Context(), fmt.Sprintf("transit/backup/mesh-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		backups[i] = secret.Data["backup"]
		f.Write(t, key+"/rotate", nil)
		f.Write(t, key+"/config", map[string]any{"min_encryption_version": 2})
	}
	f.moves(t)
	for i, backup := range backups { // to version 1, and on to another version 2
		f.Write(t, fmt.Sprintf("transit/restore/mesh-%d", i), map[string]any{"backup": backup, "force": true})
		if i > 0 {
			f.Write(t, fmt.Sprintf("transit/keys/mesh-%d/rotate", i), nil)
		}
	}
	f.moves(t)
	for i := range backups { // version 1 is another key
		f.Write(t, fmt.Sprintf("transit/keys/mesh-%d/config", i), map[string]any{"deletion_allowed": true})
		f.Delete(t, fmt.Sprintf("transit/keys/mesh-%d", i))
		f.TransitKey(t, "transit", fmt.Sprintf("mesh-%d", i), nil)
	}
	f.moves(t)
	f.nothingFailed(t)
}

func TestFederationSurvivesIssuerRotationWithCrossSigning(t *testing.T) {
	f := newFleet(t, fleetOptions{})
	rotateIssuer(t, f.rig)
	f.within(t, "both roots everywhere", func(s sdk.Status) bool { return s.Trust.Generation >= 2 })
	f.moves(t)
	for i, n := range f.mesh.Nodes { // as if every certificate came due
		f.identities[i].Renew()
		if err := n.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := n.Status(); s.Identity.Generation < 2 {
			t.Errorf("%s still has its first certificate", n.ID())
		}
		f.moves(t)
	}
	if _, err := f.Client(t).Logical().DeleteWithContext(t.Context(), "pki/issuer/root-1"); err != nil {
		t.Fatal(err)
	}
	f.within(t, "the old root to leave", func(s sdk.Status) bool { return s.Trust.Generation >= 3 })
	f.nothingFailed(t)
}

func TestFederationSurvivesARestartOfVaultUnderLoad(t *testing.T) {
	f := newFleet(t, fleetOptions{patience: 20 * time.Second})
	for range 3 {
		f.Kill()
		f.Restart(t)
		f.moves(t)
	}
	f.nothingFailed(t)
}

// What Vault, or something in front of it, answers for a moment fails no message.
func TestFederationSurvivesWrongAnswers(t *testing.T) {
	f := newFleet(t, fleetOptions{patience: 20 * time.Second, timeout: time.Second})
	for name, fault := range map[string]vaulttest.Fault{
		"429": vaulttest.Status("", 429, "1", "quota"), "500": vaulttest.Status("", 500, "", "internal"),
		"503": vaulttest.Status("", 503, "", "overloaded"), "473": vaulttest.Status("", 473, "", ""),
		"half": vaulttest.Half, "garbage": vaulttest.Garbage, "dropped": vaulttest.Drop, "nothing": vaulttest.Nothing,
	} {
		var seen atomic.Int32
		f.proxy.Set(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/sign/") {
				seen.Add(1)
			}
			return fault(w, r)
		})
		within(t, name, func() bool { return seen.Load() > 5 })
		f.proxy.Set(nil)
		f.moves(t)
	}
	f.nothingFailed(t)
}

func TestFederationWithExportedKeysNeedsNoVaultWhileMaterialIsValid(t *testing.T) {
	f := newFleet(t, fleetOptions{export: true})
	f.Seal(t)
	f.within(t, "the words of Status", func(s sdk.Status) bool {
		for _, m := range []sdk.MaterialStatus{s.Trust, *s.Key} {
			if m.State != "failing" && m.State != "stale" || !errors.Is(m.Err, sdk.ErrUnavailable) || !strings.Contains(m.Err.Error(), "sealed") {
				return false
			}
		}
		return true
	})
	f.moves(t)
	f.Unseal(t)
	f.within(t, "recovery", func(s sdk.Status) bool { return s.Trust.State == "fresh" && s.Key.State == "fresh" })
	for _, fault := range []vaulttest.Fault{
		vaulttest.Status("", 429, "1", "quota"), vaulttest.Status("", 500, "", "internal"), vaulttest.Half, vaulttest.Garbage,
	} {
		f.proxy.Set(fault)
		f.moves(t)
		f.proxy.Set(nil)
	}
	f.nothingFailed(t)
}

func TestFederationWithoutVaultQueuesWhatItCannotSign(t *testing.T) {
	f := newFleet(t, fleetOptions{patience: -1})
	f.moves(t)
	if failed := f.halt(); len(failed) > 0 {
		t.Fatal(failed[0])
	}
	f.Seal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := f.mesh.Nodes[0].Push(ctx, sdk.Message{Operation: "late", Body: []byte("late")})
	if err == nil {
		t.Fatal("a push succeeded that nobody could sign")
	}
	f.Unseal(t)
	if err := f.mesh.Nodes[0].Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for i, n := range f.mesh.Nodes[1:] {
		got := n.Received()
		if len(got) == 0 || got[len(got)-1].Operation != "late" {
			t.Errorf("node %d has not got what was queued", i+1)
		}
	}
}

func TestFederationSurvivesTheLossOfItsTokens(t *testing.T) {
	f := newFleet(t, fleetOptions{})
	for range 3 {
		for range 3 {
			f.Write(t, "auth/token/revoke-accessor", map[string]any{"accessor": newestAccessor(t, f.rig)})
		}
		f.moves(t)
	}
	f.nothingFailed(t)
}

func TestFederationSaysWhenVaultForbids(t *testing.T) {
	f := newFleet(t, fleetOptions{export: true})
	f.Policy(t, "node", `path "pki/sign/node" { capabilities = ["update"] }`)
	f.within(t, "the words of Status", func(s sdk.Status) bool { return s.Key.State != "fresh" && errors.Is(s.Key.Err, sdk.ErrPermission) })
	f.nothingFailed(t)
}

func TestBuildFailsAtOnceOverWhatNoRetryCures(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]struct {
		change func(*vault.Config, *vault.TrustOptions, *vault.IdentityOptions, *vault.KeyOptions)
		field  string
		words  string
	}{
		"mount": {func(_ *vault.Config, o *vault.TrustOptions, _ *vault.IdentityOptions, _ *vault.KeyOptions) {
			o.Mounts = []string{"pki-x"}
		}, "Trust", "pki-x"},
		"role": {func(_ *vault.Config, _ *vault.TrustOptions, o *vault.IdentityOptions, _ *vault.KeyOptions) {
			o.TTL = 9000 * time.Hour
		}, "Identity", "max_ttl"},
		"key": {func(_ *vault.Config, _ *vault.TrustOptions, _ *vault.IdentityOptions, o *vault.KeyOptions) {
			o.Name = "nobody"
		}, "Key", "nobody"},
		"Vault CA": {func(c *vault.Config, _ *vault.TrustOptions, _ *vault.IdentityOptions, _ *vault.KeyOptions) {
			c.Roots = nil
		}, "Trust", "certificate"},
		"address": {func(c *vault.Config, _ *vault.TrustOptions, _ *vault.IdentityOptions, _ *vault.KeyOptions) {
			c.Address = "vault:8200"
		}, "Trust", "Address"},
	} {
		t.Run(name, func(t *testing.T) {
			r.Policy(t, "node", `path "*" { capabilities = ["update", "read"] }`)
			cfg := vault.Config{Address: r.proxy.URL, Roots: r.Roots, Auth: r.auth}
			trust, identity, key := vault.TrustOptions{}, identityOptions(), keyOptions()
			test.change(&cfg, &trust, &identity, &key)
			c := vault.New(cfg)
			defer c.Close()
			b := sdk.Builder{
				Trust: c.Trust(trust), Identity: c.Identity(identity), Key: c.Key(key),
				Peers: []sdk.Peer{{URL: "https://b.example"}},
			}
			b.Quorum.Writes = 1
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			fed, err := b.Build(ctx)
			if err == nil {
				_ = fed.Close()
				t.Fatal("it was built")
			}
			if ctx.Err() != nil {
				t.Error("Build waited for what no retry cures")
			}
			if !strings.Contains(err.Error(), test.field+":") || !strings.Contains(err.Error(), test.words) {
				t.Errorf("error %q names neither %s nor %q", err, test.field, test.words)
			}
		})
	}
}
