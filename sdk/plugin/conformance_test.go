package plugin_test

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A movable is a folder source that a test moves.
type movable struct {
	dir string
	ca  *sdktest.CA
}

func newMovable(t testing.TB) *movable {
	t.Helper()
	m := &movable{dir: t.TempDir(), ca: sdktest.NewCA(t)}
	m.rotateTrust(t)
	m.rotateIdentity(t)
	m.rotateKey(t)
	return m
}

// write replaces a file at once.
func (m *movable) write(t testing.TB, name string, b []byte) {
	t.Helper()
	tmp := filepath.Join(m.dir, name+".tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(m.dir, name)); err != nil {
		t.Fatal(err)
	}
}

func (m *movable) rotateTrust(t testing.TB) {
	t.Helper()
	m.write(t, "roots.pem", append(m.ca.PEM(), sdktest.NewCA(t).PEM()...))
}

func (m *movable) rotateIdentity(t testing.TB) {
	t.Helper()
	id := m.ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
	m.write(t, "identity.pem", append(id.CertPEM(), id.KeyPEM()...))
}

func (m *movable) rotateKey(t testing.TB) {
	t.Helper()
	seed := make([]byte, 32)
	_, _ = rand.Read(seed)
	m.write(t, "seed", []byte(hex.EncodeToString(seed)))
}

func (m *movable) breakIt(t testing.TB) error {
	t.Helper()
	m.write(t, "broken", []byte("permission"))
	return fault.ErrPermission
}

func (m *movable) mend(t testing.TB) {
	t.Helper()
	if err := os.Remove(filepath.Join(m.dir, "broken")); err != nil {
		t.Fatal(err)
	}
}

// TestProvidersBehindThePluginConform runs the suites of providertest through the wire: with Watch, and
// polled for one role, since what polling changes is the same for all.
func TestProvidersBehindThePluginConform(t *testing.T) {
	for _, watch := range []string{"yes", "no"} {
		t.Run("watch="+watch, func(t *testing.T) {
			m := newMovable(t)
			opened := func(t testing.TB) *plugin.Plugin {
				c := config(t, "folder")
				c.Settings = map[string]string{"dir": m.dir, "watch": watch}
				return open(t, c)
			}
			t.Run("trust", func(t *testing.T) {
				providertest.Trust(t, providertest.TrustHarness{
					New:    func(t testing.TB) sdk.TrustProvider { return must(opened(t).Trust()) },
					Rotate: m.rotateTrust, Break: m.breakIt, Mend: m.mend,
				})
			})
			if watch == "no" {
				return
			}
			t.Run("identity", func(t *testing.T) {
				providertest.Identity(t, providertest.IdentityHarness{
					New:    func(t testing.TB) sdk.IdentityProvider { return must(opened(t).Identity()) },
					Rotate: m.rotateIdentity, Break: m.breakIt, Mend: m.mend,
				})
			})
			t.Run("key", func(t *testing.T) {
				providertest.Key(t, providertest.KeyHarness{
					New:    func(t testing.TB) sdk.KeyProvider { return must(opened(t).Key()) },
					Rotate: m.rotateKey, Break: m.breakIt, Mend: m.mend,
				})
			})
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
