package file_test

import (
	"crypto"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/youmark/pkcs8"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestTrustConforms(t *testing.T) {
	var dir string
	providertest.Trust(t, providertest.TrustHarness{
		New: func(t testing.TB) sdk.TrustProvider {
			dir = t.TempDir()
			write(t, dir, "ca.pem", sdktest.NewCA(t).PEM())
			return &file.Trust{Path: filepath.Join(dir, "ca.pem")}
		},
		Invalid: func(testing.TB) sdk.TrustProvider { return &file.Trust{} },
		Rotate:  func(t testing.TB) { replace(t, dir, "ca.pem", sdktest.NewCA(t).PEM()) },
		Break: func(t testing.TB) error {
			rename(t, dir, "ca.pem", "gone")
			return sdk.ErrNotFound
		},
		Mend: func(t testing.TB) { rename(t, dir, "gone", "ca.pem") },
	})
}

func TestIdentityConforms(t *testing.T) {
	ca := sdktest.NewCA(t)
	issue := func(t testing.TB, dir string, put func(testing.TB, string, string, []byte)) {
		id := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
		put(t, dir, "node.pem", id.CertPEM())
		put(t, dir, "node-key.pem", id.KeyPEM())
	}
	var dir string
	providertest.Identity(t, providertest.IdentityHarness{
		New: func(t testing.TB) sdk.IdentityProvider {
			dir = t.TempDir()
			issue(t, dir, write)
			return &file.Identity{Cert: filepath.Join(dir, "node.pem"), Key: filepath.Join(dir, "node-key.pem"), Strict: true}
		},
		Invalid: func(testing.TB) sdk.IdentityProvider { return &file.Identity{Key: "key.pem"} },
		Rotate:  func(t testing.TB) { issue(t, dir, replace) },
		Break: func(t testing.TB) error {
			write(t, dir, "node-key.pem", ca.Issue(t, sdktest.Leaf{}).KeyPEM())
			return sdk.ErrMaterial
		},
		Mend: func(t testing.TB) { issue(t, dir, replace) },
	})
}

func TestKeyConforms(t *testing.T) {
	const passphrase = "correct horse battery staple"
	locked := func(t testing.TB) []byte {
		return lock(t, sdktest.Ed25519(t), passphrase)
	}
	var dir string
	providertest.Key(t, providertest.KeyHarness{
		New: func(t testing.TB) sdk.KeyProvider {
			dir = t.TempDir()
			write(t, dir, "key", locked(t))
			write(t, dir, "passphrase", []byte(passphrase+"\n"))
			return &file.Key{
				Path:       filepath.Join(dir, "key"),
				Passphrase: file.PassphraseFile(filepath.Join(dir, "passphrase")),
			}
		},
		Invalid: func(testing.TB) sdk.KeyProvider { return &file.Key{} },
		Rotate:  func(t testing.TB) { replace(t, dir, "key", locked(t)) },
		Break: func(t testing.TB) error {
			replace(t, dir, "passphrase", []byte(strings.ToUpper(passphrase)))
			replace(t, dir, "key", locked(t))
			return sdk.ErrMaterial
		},
		Mend:    func(t testing.TB) { replace(t, dir, "passphrase", []byte(passphrase)) },
		Secrets: []string{passphrase, strings.ToUpper(passphrase)},
	})
}

// lock encrypts a key as PKCS #8, with little work. Another implementation does it than the one under test.
func lock(t testing.TB, key crypto.PrivateKey, passphrase string) []byte {
	t.Helper()
	der, err := pkcs8.MarshalPrivateKey(key, []byte(passphrase), &pkcs8.Opts{
		Cipher:  pkcs8.AES256CBC,
		KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 10, HMACHash: crypto.SHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
}

// write writes a file in place.
func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace renames a finished file over the old one.
func replace(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	write(t, dir, name+".new", data)
	rename(t, dir, name+".new", name)
}

func rename(t testing.TB, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}
