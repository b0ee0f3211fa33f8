package main

import (
	"os"
	"testing"

	"github.com/alphaonedev/federation/internal/vaulttest/vaultbin"
)

// The test binary is the plugin, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "plugin" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestTheStoryHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("lives through a life of certificates")
	}
	bin, err := vaultbin.Path()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil && os.Getenv("FEDERATION_NO_SKIP") == "" {
		t.Skip("skipped: the Vault server is not built; run: go run ./internal/vaulttest/build (or make test)")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), self); err != nil {
		t.Fatal(err)
	}
}
