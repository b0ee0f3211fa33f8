package vault_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// benchRig is a rig and an official client that keeps its connection, for the loops to compare with. Its token is one like
// the node's: Vault does more for each request with such a token than with the root token.
func benchRig(b *testing.B) (*rig, *api.Client) {
	b.Helper()
	r := newRig(b)
	pooled := r.HTTPClient()
	pooled.Transport = keepAlive(pooled.Transport)
	b.Cleanup(pooled.CloseIdleConnections)
	official, err := api.NewClient(&api.Config{Address: r.URL, HttpClient: pooled})
	if err != nil {
		b.Fatal(err)
	}
	login, err := official.Logical().WriteWithContext(b.Context(), "auth/approle/login", map[string]any{
		"role_id": r.auth.RoleID, "secret_id": r.auth.SecretID,
	})
	if err != nil {
		b.Fatal(err)
	}
	official.SetToken(login.Auth.ClientToken)
	return r, official
}

func benchKey(b *testing.B, r *rig, o vault.KeyOptions) *sdk.KeySet {
	b.Helper()
	set, err := r.direct(b).Key(o).SigningKeys(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// BenchmarkSign is one message after the other.
func BenchmarkSign(b *testing.B) {
	r, official := benchRig(b)
	message := make([]byte, 512)
	b.Run("through Key", func(b *testing.B) {
		set := benchKey(b, r, keyOptions())
		for b.Loop() {
			if _, err := set.Active.Sign(b.Context(), message); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, 1)
	})
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			directSign(b, official, map[string]any{"input": base64.StdEncoding.EncodeToString(message), "key_version": 1})
		}
		perSecond(b, 1)
	})
	b.Run("in turn", func(b *testing.B) { // on a machine that is busy with other things, too
		set := benchKey(b, r, keyOptions())
		var key, direct time.Duration
		for b.Loop() {
			began := time.Now()
			if _, err := set.Active.Sign(b.Context(), message); err != nil {
				b.Fatal(err)
			}
			key += time.Since(began)
			began = time.Now()
			directSign(b, official, map[string]any{"input": base64.StdEncoding.EncodeToString(message), "key_version": 1})
			direct += time.Since(began)
		}
		b.ReportMetric(key.Seconds()/direct.Seconds(), "Key/direct")
	})
}

// BenchmarkSignMany is 256 messages that wait at once.
func BenchmarkSignMany(b *testing.B) {
	const n = 256
	r, official := benchRig(b)
	message := make([]byte, 512)
	b.Run("through Key", func(b *testing.B) {
		set := benchKey(b, r, keyOptions())
		for b.Loop() {
			errs := make(chan error, n)
			for range n {
				go func() { _, err := set.Active.Sign(b.Context(), message); errs <- err }()
			}
			for range n {
				if err := <-errs; err != nil {
					b.Fatal(err)
				}
			}
		}
		perSecond(b, n)
	})
	b.Run("direct, one request each", func(b *testing.B) {
		for b.Loop() {
			done := make(chan struct{}, n)
			for range n {
				go func() {
					directSign(b, official, map[string]any{"input": base64.StdEncoding.EncodeToString(message), "key_version": 1})
					done <- struct{}{}
				}()
			}
			for range n {
				<-done
			}
		}
		perSecond(b, n)
	})
	b.Run("direct, one batch by hand", func(b *testing.B) {
		for b.Loop() {
			items := make([]map[string]any, n)
			for i := range items {
				items[i] = map[string]any{"input": base64.StdEncoding.EncodeToString(message)}
			}
			directSign(b, official, map[string]any{"batch_input": items, "key_version": 1})
		}
		perSecond(b, n)
	})
}

func directSign(b *testing.B, c *api.Client, data map[string]any) {
	if _, err := c.Logical().WriteWithContext(b.Context(), "transit/sign/node-a", data); err != nil {
		b.Error(err)
	}
}

func perSecond(b *testing.B, n int) {
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "signatures/s")
}

// BenchmarkPush is one push at a time that all three nodes acknowledge: with keys in Transit, where the message and
// every ack is signed by Vault, and with the same keys exported.
func BenchmarkPush(b *testing.B) {
	for name, export := range map[string]bool{"signed in Vault": false, "exported": true} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b)
			r.Policy(b, "node", `path "transit/*" { capabilities = ["read", "update"] }`)
			mesh := sdktest.Mesh(b, 3, sdktest.MeshOptions{Writes: 3, Configure: func(i int, builder *sdk.Builder) {
				key := fmt.Sprintf("mesh-%d", i)
				r.TransitKey(b, "transit", key, map[string]any{"exportable": true})
				builder.Key = r.direct(b).Key(vault.KeyOptions{Name: key, Export: export})
				builder.Quorum.AckTimeout = 10 * time.Second
			}})
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			defer cancel()
			push := func() {
				if _, err := mesh.Nodes[0].Push(ctx, sdk.Message{Body: make([]byte, 512)}); err != nil {
					b.Fatal(err)
				}
			}
			push() // connections and keys
			for b.Loop() {
				push()
			}
		})
	}
}
