package plugin_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"testing"

	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// BenchmarkHandshake is a TLS 1.3 handshake, both sides, in which the client and the server prove themselves
// with the same identity: with its key in this process, and behind a plugin. It signs twice.
func BenchmarkHandshake(b *testing.B) {
	ca := sdktest.NewCA(b)
	local := ca.Issue(b, sdktest.Leaf{DNS: []string{"a.example"}})
	c := config(b, "good")
	c.Logger = nil
	c.Secrets = map[string]plugin.Secret{"identity": plugin.Secret(append(local.CertPEM(), local.KeyPEM()...))}
	p := open(b, c)
	remote := must(must(p.Identity()).Identity(within(b))).Certificate
	for _, bb := range []struct {
		name string
		cert *tls.Certificate
	}{{"key=local", local.TLS}, {"key=plugin", remote}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				if err := handshake(context.Background(), bb.cert, tls.VersionTLS13); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSignMessage is one signature over 1 KiB.
func BenchmarkSignMessage(b *testing.B) {
	local := must(signer.KeyOf(ed25519.NewKeyFromSeed([]byte(testSeed))))
	c := config(b, "good")
	c.Logger = nil
	c.Secrets = map[string]plugin.Secret{"seed": testSeed}
	p := open(b, c)
	remote := must(must(p.Key()).SigningKeys(within(b))).Active
	message := make([]byte, 1024)
	for _, bb := range []struct {
		name string
		key  signer.Key
	}{{"key=local", local}, {"key=plugin", remote}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := bb.key.Sign(context.Background(), message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
