package file_test

import (
	"path/filepath"
	"testing"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A pull of files that have not changed reads them and parses nothing.
func BenchmarkPullUnchanged(b *testing.B) {
	ca := sdktest.NewCA(b)
	id := ca.Issue(b, sdktest.Leaf{})
	dir := b.TempDir()
	write(b, dir, "ca.pem", ca.PEM())
	write(b, dir, "cert", id.CertPEM())
	write(b, dir, "key", lock(b, id.Key, passphrase))
	b.Run("trust", func(b *testing.B) {
		p := &file.Trust{Path: filepath.Join(dir, "ca.pem"), Settle: -1}
		for b.Loop() {
			if _, err := p.TrustBundle(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("identity", func(b *testing.B) {
		p := &file.Identity{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), Passphrase: given(passphrase), Settle: -1}
		for b.Loop() {
			if _, err := p.Identity(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
