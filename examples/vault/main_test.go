package main

import (
	"os"
	"testing"

	"github.com/alphaonedev/federation/internal/vaulttest/vaultbin"
)

func TestTheExampleEndsWell(t *testing.T) {
	bin, err := vaultbin.Path()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil && os.Getenv("FEDERATION_NO_SKIP") == "" {
		t.Skip("skipped: the Vault server is not built; run: go run ./internal/vaulttest/build (or make test)")
	}
	if err := run(t.Context(), server{}); err != nil {
		t.Fatal(err)
	}
}
