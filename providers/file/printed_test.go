package file_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestProvidersDoNotPrintTheirKeys(t *testing.T) {
	dir := t.TempDir()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x5a}, ed25519.SeedSize))
	issued := sdktest.NewCA(t).Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Signer: key})
	cert, keyPath := filepath.Join(dir, "node.pem"), filepath.Join(dir, "node-key.pem")
	for path, data := range map[string][]byte{cert: issued.CertPEM(), keyPath: issued.KeyPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	identity := &file.Identity{Cert: cert, Key: keyPath, Settle: -1}
	if _, err := identity.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	signing := &file.Key{Path: keyPath, Settle: -1}
	if _, err := signing.SigningKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{identity, signing} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v)
			for _, hidden := range []string{strings.Trim(fmt.Sprint(key.Seed()), "[]"), fmt.Sprintf("%x", key.Seed()), string(key.Seed())} {
				if strings.Contains(text, hidden) {
					t.Errorf("%T by %s shows the private key", v, verb)
				}
			}
		}
	}
}
