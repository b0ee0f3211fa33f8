package plugin_test

import (
	"context"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// The two benchmarks compare within one run, turn by turn, so that whatever else the machine does touches both
// sides alike. They report the median of each side and what the plugin adds.

// BenchmarkHandshake is a TLS 1.3 handshake with client certificates, in memory, in which the client's key is in
// this process, and behind a plugin.
func BenchmarkHandshake(b *testing.B) {
	ca := sdktest.NewCA(b)
	local := ca.Issue(b, sdktest.Leaf{DNS: []string{"a.example"}})
	c := config(b, "good")
	c.Logger = nil
	c.Secrets = map[string]plugin.Secret{"identity": plugin.Secret(append(local.CertPEM(), local.KeyPEM()...))}
	p := open(b, c)
	remote := must(must(p.Identity()).Identity(within(b))).Certificate
	compare(b,
		func() error { return mutual(context.Background(), local.TLS, local.TLS) },
		func() error { return mutual(context.Background(), local.TLS, remote) })
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
	sign := func(k signer.Key) func() error {
		return func() error {
			_, err := k.Sign(context.Background(), message)
			return err
		}
	}
	compare(b, sign(local), sign(remote))
}

func compare(b *testing.B, local, remote func() error) {
	var times [2][]time.Duration
	for b.Loop() {
		for i, f := range []func() error{local, remote} {
			began := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			times[i] = append(times[i], time.Since(began))
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	a, z := times[0][len(times[0])/2], times[1][len(times[1])/2]
	b.ReportMetric(float64(a.Microseconds()), "local-µs")
	b.ReportMetric(float64(z.Microseconds()), "plugin-µs")
	b.ReportMetric(float64((z - a).Microseconds()), "added-µs")
}
