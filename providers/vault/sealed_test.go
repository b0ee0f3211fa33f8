package vault_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

var sealedFor = flag.Duration("sealed", 2*time.Second, "how long Vault is sealed in TestASealedVaultFailsNothingWhereKeysAreExported")

// Vault is sealed under load, and every certificate comes due meanwhile. Nothing fails, Status says what is wrong, and
// all is renewed once Vault is back.
func TestASealedVaultFailsNothingWhereKeysAreExported(t *testing.T) {
	f := newFleet(t, fleetOptions{export: true})
	before := f.statuses()
	f.Seal(t)
	sealed := time.Now()
	for i, n := range f.mesh.Nodes {
		f.identities[i].Renew()
		wantError(t, providerError(n.Refresh(t.Context())), sdk.ErrUnavailable, "Vault is sealed", "unseals")
	}
	words := func() bool {
		for _, s := range f.statuses() {
			for _, m := range []sdk.MaterialStatus{s.Trust, *s.Identity, *s.Key} {
				if m.State != "failing" && m.State != "stale" || !errors.Is(m.Err, sdk.ErrUnavailable) || !strings.Contains(m.Err.Error(), "Vault is sealed") {
					return false
				}
			}
		}
		return true
	}
	within(t, "the words of Status", words)
	for ok := true; ok; ok = time.Since(sealed) < *sealedFor {
		f.moves(t)
		if !words() {
			t.Fatalf("Status does not say that Vault is sealed: %+v", f.statuses())
		}
	}
	for i, s := range f.statuses() {
		if s.Fingerprint != before[i].Fingerprint || s.SigningKey != before[i].SigningKey {
			t.Errorf("node %d changed its certificate or key without Vault", i)
		}
	}
	f.Unseal(t)
	// A pause after failures is up to a minute long.
	for deadline := time.Now().Add(90 * time.Second); ; {
		renewed := true
		for i, s := range f.statuses() {
			renewed = renewed && s.Trust.State == "fresh" && s.Key.State == "fresh" && s.Identity.State == "fresh" &&
				s.Fingerprint != before[i].Fingerprint
		}
		if renewed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not renewed: %+v", f.statuses())
		}
		f.moves(t)
	}
	f.nothingFailed(t)
	for _, n := range f.mesh.Nodes {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := n.Flush(ctx); err != nil { // what was acked last leaves the outbox after Push has returned
			t.Errorf("%s: %v", n.ID(), err)
		}
		cancel()
		if left := outboxes(n.Federation); left != 0 {
			t.Errorf("%s: %d messages wait or are set aside", n.ID(), left)
		}
	}
}

// outboxes is how many messages wait, or are set aside, for all peers of a node.
func outboxes(f *sdk.Federation) (n int) {
	for _, p := range f.Status().Peers {
		n += p.Outbox.Depth + p.Outbox.Quarantined
	}
	return n
}

// providerError is the first error of a provider among those that Refresh joins.
func providerError(err error) error {
	if pe, ok := errors.AsType[*sdk.ProviderError](err); ok {
		return pe
	}
	return err
}

// With the key in Vault nobody can sign while it is sealed. Each way in which that shows says so, ends by itself, and
// loses nothing.
func TestASealedVaultIsNamedByWhateverCannotSign(t *testing.T) {
	f := newFleet(t, fleetOptions{patience: 300 * time.Millisecond})
	if failed := f.halt(); len(failed) > 0 {
		t.Fatal(failed[0])
	}
	node, peer := f.mesh.Nodes[0], f.mesh.Nodes[1]
	flush := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := node.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	push := func(operation string) *quorum.NotMetError {
		t.Helper()
		_, err := node.Push(t.Context(), sdk.Message{Operation: operation, Body: []byte(operation)})
		unmet, ok := errors.AsType[*quorum.NotMetError](err)
		if !ok {
			t.Fatalf("push: %v, want a quorum that is not met", err)
		}
		return unmet
	}
	get := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, peer.URL+"/nothing", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := node.Client().Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			err = resp.Body.Close()
		}
		return err
	}

	f.Seal(t)
	unmet := push("sealed")
	wantError(t, unmet.Outcomes[0].Err, sdk.ErrUnavailable, "own ack", "Vault is sealed", "unseals")
	for _, o := range unmet.Outcomes {
		if !o.Recorded {
			t.Errorf("the message is not recorded for %s", o.Peer)
		}
	}
	if !strings.Contains(unmet.Error(), "Vault is sealed") {
		t.Errorf("error %q does not say why", unmet)
	}
	wantError(t, get(), sdk.ErrUnavailable, "node-1", "Vault is sealed", "unseals")
	within(t, "the words of the outbox", func() bool {
		for _, p := range node.Status().Peers {
			if !strings.Contains(p.Outbox.LastError, "Vault is sealed") {
				return false
			}
		}
		return true
	})
	f.Unseal(t)
	if err := get(); err != nil {
		t.Errorf("a request once Vault is back: %v", err)
	}
	flush()

	// One peer's key alone: it applies what it gets, once, and the ack comes later.
	f.proxy.Set(vaulttest.Status("transit/sign/mesh-1", http.StatusServiceUnavailable, "", "Vault is sealed"))
	for _, o := range push("no-ack").Outcomes {
		if o.Peer == "node-1" && (o.Kind != quorum.Refused || !strings.Contains(o.Err.Error(), "for now") || !strings.Contains(o.Err.Error(), "ack cannot be signed")) {
			t.Errorf("the peer that cannot sign: %v, %v", o.Kind, o.Err)
		}
	}
	f.proxy.Set(nil)
	flush()
	for _, n := range f.mesh.Nodes[1:] {
		for _, operation := range []string{"sealed", "no-ack"} {
			times := 0
			for _, d := range n.Received() {
				if d.Operation == operation {
					times++
				}
			}
			if times != 1 {
				t.Errorf("%s was given %q %d times", n.ID(), operation, times)
			}
		}
	}
	if left := outboxes(node.Federation); left != 0 {
		t.Errorf("%d messages wait or are set aside", left)
	}
}

// Whatever is wrong with Vault, Status says it of the material that it concerns, in words that lead to the cure, and
// the last good material stays in service.
func TestStatusSaysWhatIsWrongWithVault(t *testing.T) {
	f := newFleet(t, fleetOptions{export: true})
	all := []string{"trust", "identity", "key"}
	for name, test := range map[string]struct {
		begin, end func()
		parts      []string
		want       error
		words      []string
	}{
		"sealed": {
			func() { f.Seal(t) }, func() { f.Unseal(t) },
			all, sdk.ErrUnavailable,
			[]string{"status 503", "Vault is sealed", "unseals"},
		},
		"killed": {f.Kill, func() { f.Restart(t) }, all, sdk.ErrUnavailable, []string{"status 502"}},
		"standby": {
			func() { f.proxy.Set(vaulttest.Status("", 473, "", "")) }, func() { f.proxy.Set(nil) },
			all, sdk.ErrUnavailable,
			[]string{"status 473", "standby", "active node"},
		},
		"429": {
			func() {
				for _, mount := range []string{"pki", "transit"} {
					f.Write(t, "sys/quotas/rate-limit/"+mount, map[string]any{"path": mount + "/", "rate": 0.001, "interval": "1s"})
				}
				for _, path := range []string{"pki/cert/ca", "transit/keys/mesh-0"} { // one request is free
					_, _ = f.Client(t).Logical().ReadWithContext(t.Context(), path)
				}
			},
			func() {
				for _, mount := range []string{"pki", "transit"} {
					f.Delete(t, "sys/quotas/rate-limit/"+mount)
				}
			},
			all, sdk.ErrUnavailable,
			[]string{"status 429", "rate limit quota exceeded", "sys/quotas/rate-limit"},
		},
		"403": {
			func() { f.Policy(t, "node", `path "sys/nothing" { capabilities = ["read"] }`) },
			func() { f.Policy(t, "node", f.rules) },
			all[1:], sdk.ErrPermission,
			[]string{"status 403", "permission denied", "policy of the token must allow"},
		},
		"mount gone": {
			func() { f.remount(t, "pki", "moved") }, func() { f.remount(t, "moved", "pki") },
			all[:2], sdk.ErrConfig,
			[]string{`nothing is mounted at "pki"`, "check Mount"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.begin()
			end := sync.OnceFunc(test.end)
			defer end()
			for i, n := range f.mesh.Nodes {
				var status map[string]sdk.MaterialStatus
				within(t, "Status", func() bool {
					f.identities[i].Renew()    // again each time: a quota may let one request pass
					_ = n.Refresh(t.Context()) // of what failed, too
					s := n.Status()
					status = map[string]sdk.MaterialStatus{"trust": s.Trust, "identity": *s.Identity, "key": *s.Key}
					return !slices.ContainsFunc(test.parts, func(part string) bool { return status[part].State == "fresh" })
				})
				for part, m := range status {
					if slices.Contains(test.parts, part) {
						wantError(t, m.Err, test.want, test.words...)
					} else if m.State != "fresh" {
						t.Errorf("%s, which that does not concern: %s, %v", part, m.State, m.Err)
					}
				}
			}
			f.moves(t)
			end()
			within(t, "recovery", func() bool {
				for _, n := range f.mesh.Nodes {
					if n.Refresh(t.Context()) != nil {
						return false
					}
				}
				return true
			})
		})
	}
	f.nothingFailed(t)
}

// remount moves a mount, and waits until it serves again.
func (r *rig) remount(t *testing.T, from, to string) {
	t.Helper()
	if err := r.Client(t).Sys().RemountWithContext(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
}
