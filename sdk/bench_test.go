package sdk_test

import (
	"crypto/x509"
	"fmt"
	"runtime"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// BenchmarkBuild is a Build, and a Close, of a federation with that many peers and all three providers.
func BenchmarkBuild(b *testing.B) {
	ca := sdktest.NewCA(b)
	key, err := signer.KeyOf(sdktest.Ed25519(b))
	if err != nil {
		b.Fatal(err)
	}
	s := &source{roots: []*x509.Certificate{ca.Certificate}, key: key}
	s.cert = ca.Issue(b, sdktest.Leaf{DNS: []string{"a.example"}}).TLS
	for _, count := range []int{2, 1000} {
		b.Run(fmt.Sprintf("peers=%d", count), func(b *testing.B) {
			builder := sdk.Builder{Trust: s, Identity: s, Key: s, Quorum: quorum.Policy{Writes: quorum.Majority}}
			for i := range count {
				builder.Peers = append(builder.Peers, sdk.Peer{URL: fmt.Sprintf("https://peer-%d.example:9077", i)})
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			fed, err := builder.Build(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			fed.Close()
			for b.Loop() {
				fed, err := builder.Build(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				fed.Close()
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(count), "B/peer")
		})
	}
}
