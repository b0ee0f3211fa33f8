package vault_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
)

func pull(t *testing.T, k *vault.Key) *sdk.KeySet {
	t.Helper()
	set, err := k.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func public(set *sdk.KeySet) ed25519.PublicKey { return set.Active.Public().(ed25519.PublicKey) }

func has(set *sdk.KeySet, pub ed25519.PublicKey) bool {
	for _, p := range set.Published {
		if pub.Equal(p) {
			return true
		}
	}
	return false
}

func mustSign(t *testing.T, set *sdk.KeySet, message string) {
	t.Helper()
	sig, err := set.Active.Sign(t.Context(), []byte(message))
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(public(set), []byte(message), sig) {
		t.Fatal("the signature does not verify")
	}
}

func TestKeySignsInVault(t *testing.T) {
	r := newRig(t)
	set := pull(t, r.client.Key(keyOptions()))
	for _, m := range []string{"", "hello", strings.Repeat("long ", 20_000)} {
		mustSign(t, set, m)
	}
	if r.proxy.Count("transit/sign/node-a") == 0 || r.proxy.Count("export") != 0 {
		t.Error("the signatures were not made in Vault")
	}
	if len(set.Published) != 0 {
		t.Errorf("%d other keys published, want none", len(set.Published))
	}
}

func TestKeyStaysPinnedToItsVersionAcrossRotation(t *testing.T) {
	r := newRig(t)
	key := r.client.Key(keyOptions())
	one := pull(t, key)
	r.Write(t, "transit/keys/node-a/rotate", nil)
	mustSign(t, one, "still version 1")
	two := pull(t, key)
	if public(two).Equal(public(one)) {
		t.Fatal("the rotation was not seen")
	}
	mustSign(t, two, "version 2")
	mustSign(t, one, "version 1, in flight")
	if !has(two, public(one)) {
		t.Error("the old key is not published during the overlap")
	}
}

func TestKeyIsAnnouncedBeforeItSigns(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := newRig(t)
	o := keyOptions()
	o.Announce = time.Second
	key := r.client.Key(o)
	one := pull(t, key)
	r.Write(t, "transit/keys/node-a/rotate", nil)
	announced := pull(t, key)
	if !public(announced).Equal(public(one)) || len(announced.Published) != 1 {
		t.Fatalf("the new version signs at once, or is not announced (%d published)", len(announced.Published))
	}
	if announced.RefreshAfter > time.Second {
		t.Errorf("RefreshAfter %v, want the end of the announcement, 1s at most", announced.RefreshAfter)
	}
	next := announced.Published[0].(ed25519.PublicKey)
	within(t, "the new version", func() bool { return public(pull(t, key)).Equal(next) })
	if !has(pull(t, key), public(one)) {
		t.Error("the old key is not published after the change")
	}
}

// A key that is rotated more often than a version is announced must not stay on its first version for ever.
func TestAnnouncedVersionSignsWhateverFollowsIt(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := newRig(t)
	o := keyOptions()
	o.Announce = 2 * time.Second
	key := r.client.Key(o)
	first := public(pull(t, key))
	rotated := time.Time{}
	within(t, "a version that has been announced", func() bool {
		if time.Since(rotated) > time.Second { // and so on: the latest is always too young
			r.Write(t, "transit/keys/node-a/rotate", nil)
			rotated = time.Now()
		}
		return !public(pull(t, key)).Equal(first)
	})
}

func TestKeyOutlivesTrimmingInVault(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := newRig(t)
	o := keyOptions()
	o.Announce, o.Overlap = time.Hour, 2*time.Second
	key := r.client.Key(o)
	one := pull(t, key)
	r.Write(t, "transit/keys/node-a/rotate", nil)
	r.Write(t, "transit/keys/node-a/config", map[string]any{"min_decryption_version": 2, "min_encryption_version": 2})

	_, err := one.Active.Sign(t.Context(), []byte("m"))
	wantError(t, err, sdk.ErrExpired, "version 1 may no longer sign")

	two := pull(t, key) // although the announcement is an hour
	if public(two).Equal(public(one)) {
		t.Fatal("the trimmed version is still in use")
	}
	mustSign(t, two, "m")
	if !has(two, public(one)) {
		t.Error("the trimmed version is not published during the overlap")
	}
	within(t, "the end of the overlap", func() bool { return !has(pull(t, key), public(one)) })
}

func TestKeyWatchTellsOfRefusalAtOnce(t *testing.T) {
	r := newRig(t)
	key := r.client.Key(keyOptions()) // polls every 5 minutes
	one := pull(t, key)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- key.Watch(ctx, func() { told <- struct{}{} }) }()
	r.Write(t, "transit/keys/node-a/rotate", nil)
	r.Write(t, "transit/keys/node-a/config", map[string]any{"min_encryption_version": 2})
	within(t, "changed", func() bool {
		// Watch may not have begun; a refusal before it did is found by the pull that follows Watch.
		_, err := one.Active.Sign(t.Context(), []byte("m"))
		wantError(t, err, sdk.ErrExpired)
		select {
		case <-told:
			return true
		default:
			return false
		}
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch returned %v", err)
	}
}

func TestKeyExportedSignsWithoutVault(t *testing.T) {
	r := newRig(t)
	r.TransitKey(t, "transit", "open", map[string]any{"exportable": true})
	r.Policy(t, "node", vaulttest.NodePolicy("pki", "node", "transit", "+")+`path "transit/export/signing-key/open/*" { capabilities = ["read"] }`)
	set := pull(t, r.client.Key(vault.KeyOptions{Name: "open", Export: true}))
	r.proxy.Set(vaulttest.Drop)
	mustSign(t, set, "vault is away")
	r.proxy.Set(nil)

	_, err := r.client.Key(vault.KeyOptions{Name: "node-a", Export: true}).SigningKeys(t.Context())
	wantError(t, err, sdk.ErrConfig, "exportable")
}

func TestKeyGivesWordsForWhatCannotSign(t *testing.T) {
	r := newRig(t)
	r.Policy(t, "node", `path "*" { capabilities = ["update", "read"] }`)
	r.TransitKey(t, "transit", "aes", map[string]any{"type": "aes256-gcm96"})
	r.TransitKey(t, "transit", "p256", map[string]any{"type": "ecdsa-p256"})
	r.TransitKey(t, "transit", "derived", map[string]any{"derived": true})
	for name, test := range map[string]struct {
		o     vault.KeyOptions
		want  error
		words []string
	}{
		"no such mount":    {vault.KeyOptions{Name: "node-a", Mount: "transit-x"}, sdk.ErrConfig, []string{"transit-x", "Mount"}},
		"no such key":      {vault.KeyOptions{Name: "nobody"}, sdk.ErrNotFound, []string{"nobody", "type=ed25519"}},
		"encryption key":   {vault.KeyOptions{Name: "aes"}, sdk.ErrConfig, []string{"aes256-gcm96", "ed25519"}},
		"other signatures": {vault.KeyOptions{Name: "p256"}, sdk.ErrConfig, []string{"ecdsa-p256"}},
		"derived key":      {vault.KeyOptions{Name: "derived"}, sdk.ErrConfig, []string{"derived"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.client.Key(test.o).SigningKeys(t.Context())
			wantError(t, err, test.want, test.words...)
		})
	}
}

func TestKeyDeletedWhileInUse(t *testing.T) {
	r := newRig(t)
	key := r.client.Key(keyOptions())
	set := pull(t, key)
	r.Write(t, "transit/keys/node-a/config", map[string]any{"deletion_allowed": true})
	if _, err := r.Client(t).Logical().DeleteWithContext(t.Context(), "transit/keys/node-a"); err != nil {
		t.Fatal(err)
	}
	_, err := set.Active.Sign(t.Context(), []byte("m"))
	wantError(t, err, sdk.ErrNotFound)
	_, err = key.SigningKeys(t.Context())
	wantError(t, err, sdk.ErrNotFound)

	r.TransitKey(t, "transit", "node-a", nil) // another key, with the same version number
	_, err = set.Active.Sign(t.Context(), []byte("m"))
	wantError(t, err, sdk.ErrExpired, "version 1 is another key by now") // a Federation then pulls, and signs anew
	again := pull(t, key)
	mustSign(t, again, "m")
	if public(again).Equal(public(set)) || !has(again, public(set)) {
		t.Error("the new key is not in use, or the old one is not published")
	}
}

func TestWaitingMessagesAreSignedTogether(t *testing.T) {
	r := newRig(t)
	o := keyOptions()
	o.Concurrent, o.MaxBatch = 1, 50
	set := pull(t, r.client.Key(o))
	mustSign(t, set, "log in and connect")
	r.proxy.Reset()
	hold, open := vaulttest.Gate(t.Context())
	r.proxy.Set(hold)
	const n = 101
	var wg sync.WaitGroup
	errs := make(chan error, n)
	sign := func(i int) {
		defer wg.Done()
		m := fmt.Appendf(nil, "message %d", i)
		sig, err := set.Active.Sign(t.Context(), m)
		if err == nil && !ed25519.Verify(public(set), m, sig) {
			err = fmt.Errorf("signature %d does not verify", i)
		}
		errs <- err
	}
	wg.Add(n)
	go sign(0)
	within(t, "the first request", func() bool { return r.proxy.Count("transit/sign") == 1 })
	for i := 1; i < n; i++ {
		go sign(i)
	}
	waitQueued(t, set, n-1)
	open()
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if got := r.proxy.Count("transit/sign"); got != 3 {
		t.Errorf("%d requests for 1 message and then 100 in batches of 50, want 3", got)
	}
}

func TestForgedSignaturesAreNotUsed(t *testing.T) {
	r := newRig(t)
	set := pull(t, r.client.Key(keyOptions()))
	for name, answer := range map[string]string{
		"noise":             `{"data":{"signature":"noise"}}`,
		"other version":     `{"data":{"signature":"vault:v2:` + strings.Repeat("A", 86) + `=="}}`,
		"too short":         `{"data":{"signature":"vault:v1:AAAA"}}`,
		"of something else": `{"data":{"signature":"vault:v1:` + strings.Repeat("A", 86) + `=="}}`,
		"nothing":           `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			r.proxy.Edit(func(path string, body []byte) []byte {
				if strings.HasPrefix(path, "transit/sign/") {
					return []byte(answer)
				}
				return body
			})
			defer r.proxy.Edit(nil)
			_, err := set.Active.Sign(t.Context(), []byte("m"))
			wantError(t, err, sdk.ErrMaterial)
		})
	}
	mustSign(t, set, "the true one")
}

func TestForgedKeysAreNotUsed(t *testing.T) {
	r := newRig(t)
	for name, answer := range map[string]string{
		"short key":         `{"data":{"type":"ed25519","latest_version":1,"keys":{"1":{"public_key":"AAAA"}}}}`,
		"latest is missing": `{"data":{"type":"ed25519","latest_version":2,"keys":{}}}`,
		"no version":        `{"data":{"type":"ed25519","latest_version":0,"keys":{}}}`,
		"not a number":      `{"data":{"type":"ed25519","latest_version":1,"keys":{"x":{"public_key":""}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			r.proxy.Edit(func(path string, body []byte) []byte {
				if strings.HasPrefix(path, "transit/keys") {
					return []byte(answer)
				}
				return body
			})
			_, err := r.client.Key(keyOptions()).SigningKeys(t.Context())
			wantError(t, err, sdk.ErrMaterial)
		})
	}
}

func TestSignHonoursItsContext(t *testing.T) {
	r := newRig(t)
	set := pull(t, r.client.Key(keyOptions()))
	r.proxy.Set(vaulttest.Nothing)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := set.Active.Sign(ctx, []byte("m")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want that of the context", err)
	}
	// The others of a batch do not suffer from one that gave up.
	r.proxy.Set(func(w http.ResponseWriter, req *http.Request) bool { return false })
	mustSign(t, set, "afterwards")
}

func TestCloseEndsSigning(t *testing.T) {
	r := newRig(t)
	c := r.connect(t, nil)
	set := pull(t, c.Key(keyOptions()))
	r.proxy.Reset()
	r.proxy.Set(vaulttest.Nothing)
	ended := make(chan error, 1)
	go func() { _, err := set.Active.Sign(t.Context(), []byte("m")); ended <- err }()
	within(t, "the request", func() bool { return r.proxy.Count("transit/sign") == 1 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-ended, sdk.ErrClosed)
	_, err := set.Active.Sign(t.Context(), []byte("m"))
	wantError(t, err, sdk.ErrClosed)
	_, err = c.Trust(vault.TrustOptions{}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrClosed)
}

// waitQueued waits until n messages wait for their turn.
func waitQueued(t *testing.T, set *sdk.KeySet, n int) {
	t.Helper()
	within(t, "the queue", func() bool { return vault.Queued(set.Active) == n })
}
