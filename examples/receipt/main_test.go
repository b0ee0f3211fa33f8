package main

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestAReceiptOfALiveFederationIsChecked(t *testing.T) {
	mesh := sdktest.Mesh(t, 3)
	body := []byte("ten bolts")
	result, err := mesh.Nodes[0].Push(t.Context(), sdk.Message{Operation: "order-17", Body: body})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := result.Receipt.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	keys := quorum.Keys{Of: map[string][]ed25519.PublicKey{}, Writes: 2}
	for _, n := range mesh.Nodes {
		keys.Of[n.ID()] = []ed25519.PublicKey{n.SigningKey}
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	receipt, message := file("receipt.bin", encoded), file("message", body)
	if err := check(receipt, message, keys); err != nil {
		t.Error(err)
	}
	if err := check(receipt, file("other", []byte("eleven bolts")), keys); err == nil {
		t.Error("it holds for another message")
	}
	if err := check(file("cut", encoded[:len(encoded)-1]), message, keys); !errors.Is(err, quorum.ErrTruncated) {
		t.Errorf("truncated: %v", err)
	}
	keys.Writes = 4
	if err := check(receipt, message, keys); !errors.Is(err, quorum.ErrTooFew) {
		t.Errorf("more nodes demanded: %v", err)
	}
}
