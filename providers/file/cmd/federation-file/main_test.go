package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// The test binary is the plugin when a host starts it.
func TestMain(m *testing.M) {
	if os.Getenv("FEDERATION_PLUGIN") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, settings map[string]string) (*plugin.Plugin, error) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p, err := plugin.Open(ctx, plugin.Config{
		Path: path, Unpinned: true, Settings: settings, Limits: plugin.Limits{Start: time.Minute},
	})
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func replace(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+".new"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	rename(t, dir, name+".new", name)
}

func rename(t testing.TB, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

// The suites are those that package file runs in its own process.

func TestTrustConformsThroughThePlugin(t *testing.T) {
	var dir string
	providertest.Trust(t, providertest.TrustHarness{
		New: func(t testing.TB) sdk.TrustProvider {
			dir = t.TempDir()
			replace(t, dir, "ca.pem", sdktest.NewCA(t).PEM())
			return must(must(open(t, map[string]string{"ca": filepath.Join(dir, "ca.pem")})).Trust())
		},
		Rotate: func(t testing.TB) { replace(t, dir, "ca.pem", sdktest.NewCA(t).PEM()) },
		Break: func(t testing.TB) error {
			rename(t, dir, "ca.pem", "gone")
			return sdk.ErrNotFound
		},
		Mend: func(t testing.TB) { rename(t, dir, "gone", "ca.pem") },
	})
}

func TestIdentityConformsThroughThePlugin(t *testing.T) {
	ca := sdktest.NewCA(t)
	issue := func(t testing.TB, dir string) {
		id := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
		replace(t, dir, "node.pem", id.CertPEM())
		replace(t, dir, "node-key.pem", id.KeyPEM())
	}
	var dir string
	providertest.Identity(t, providertest.IdentityHarness{
		New: func(t testing.TB) sdk.IdentityProvider {
			dir = t.TempDir()
			issue(t, dir)
			return must(must(open(t, map[string]string{
				"cert": filepath.Join(dir, "node.pem"), "key": filepath.Join(dir, "node-key.pem"), "strict": "true",
			})).Identity())
		},
		Rotate: issueIn(&dir, issue),
		Break: func(t testing.TB) error {
			replace(t, dir, "node-key.pem", ca.Issue(t, sdktest.Leaf{}).KeyPEM())
			return sdk.ErrMaterial
		},
		Mend: issueIn(&dir, issue),
	})
}

func issueIn(dir *string, issue func(testing.TB, string)) func(testing.TB) {
	return func(t testing.TB) { issue(t, *dir) }
}

func TestKeyConformsThroughThePlugin(t *testing.T) {
	fresh := func(t testing.TB) []byte {
		der := must(x509.MarshalPKCS8PrivateKey(sdktest.Ed25519(t)))
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	var dir string
	providertest.Key(t, providertest.KeyHarness{
		New: func(t testing.TB) sdk.KeyProvider {
			dir = t.TempDir()
			replace(t, dir, "key", fresh(t))
			return must(must(open(t, map[string]string{"signing-key": filepath.Join(dir, "key")})).Key())
		},
		Rotate: func(t testing.TB) { replace(t, dir, "key", fresh(t)) },
		Break: func(t testing.TB) error {
			replace(t, dir, "key", []byte("-----BEGIN PRIVATE KEY-----\n"))
			return sdk.ErrMaterial
		},
		Mend: func(t testing.TB) { replace(t, dir, "key", fresh(t)) },
	})
}

func TestABadConfigurationIsRefused(t *testing.T) {
	for name, settings := range map[string]map[string]string{
		"nothing":             {},
		"an unknown setting":  {"ca": "/x", "certs": "/x"},
		"a relative path":     {"ca": "ca.pem"},
		"a key without cert":  {"key": "/x"},
		"a bad duration":      {"ca": "/x", "poll": "soon"},
		"neither true nor no": {"ca": "/x", "strict": "maybe"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := open(t, settings); !errors.Is(err, sdk.ErrConfig) {
				t.Errorf("%v, want ErrConfig", err)
			}
		})
	}
}
