package sdk_test

import (
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
)

// Two peers of one name can be called, and nothing that they send is accepted.
func TestCheckWarnsOfPeersThatOneCertificateNames(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*sdk.Peer)
		warned bool
	}{
		{"the same name", func(p *sdk.Peer) { p.ServerName = "b.example" }, true},
		{"its name as an ID", func(p *sdk.Peer) { p.IDs = []string{"b.example"} }, true},
		{"a name of its own", func(p *sdk.Peer) { p.ServerName = "other.example" }, false},
		{"an ID of its own", func(p *sdk.Peer) { p.ServerName, p.IDs = "b.example", []string{"spiffe://x.example/other"} }, false},
		{"a key of its own", func(p *sdk.Peer) { p.ServerName, p.SPKIPins = "b.example", []string{strings.Repeat("ab", 32)} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
				b.Quorum.Writes = 1
				if n.name == "a" {
					p := sdk.Peer{Name: "twin", URL: "https://127.0.0.1:1"}
					tt.change(&p)
					b.Peers = append(b.Peers, p)
				}
			})
			report := m.nodes[0].fed.Check(t.Context())
			warned := false
			for _, w := range report.Warnings {
				warned = warned || w.Peer == "twin" && strings.Contains(w.Err.Error(), "b.example") && strings.Contains(w.Err.Error(), "SPKIPins")
			}
			if warned != tt.warned {
				t.Errorf("warnings %v, want one of two peers of one name: %v", report.Warnings, tt.warned)
			}
		})
	}
}
