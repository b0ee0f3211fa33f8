package sdk

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/signer"
)

func testSigningKey(t testing.TB, seed byte) signer.Key {
	t.Helper()
	key, err := signer.KeyOf(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicOf(k signer.Key) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// A slowKey takes its time, as one that lives elsewhere does.
type slowKey struct {
	signer.Key
	calls atomic.Int64
}

func (k *slowKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	k.calls.Add(1)
	time.Sleep(5 * time.Millisecond)
	return k.Key.Sign(ctx, message)
}

// A silentKey answers nothing until its channel is closed, as one in a Vault that is down for a while.
type silentKey struct {
	signer.Key
	speak chan struct{}
}

func (k *silentKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	select {
	case <-k.speak:
		return k.Key.Sign(ctx, message)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
