package sdk_test

import (
	"net/http"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

func TestMessagesAreAddressedByANameOfTheCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		dns, uri   string // of the certificate, after the node's name
		ids        []string
		serverName bool
		tries      int // 2: which of the names it is, the first answer tells
	}{
		"in upper case":            {dns: ".Example", serverName: true, tries: 1},
		"a SPIFFE ID alone":        {uri: "spiffe://x.example/", ids: []string{"spiffe://x.example/"}, tries: 1},
		"a SPIFFE ID in two cases": {uri: "spiffe://X.example/", ids: []string{"SPIFFE://x.example/"}, tries: 1},
		"a DNS name among IDs":     {dns: ".internal", ids: []string{".internal"}, tries: 1},
		"the second of two IDs":    {dns: ".internal", ids: []string{".former", ".internal"}, tries: 2},
	} {
		t.Run(name, func(t *testing.T) {
			ca := sdktest.NewCA(t)
			m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
				n.trust.roots = certs(ca.Certificate)
				leaf := sdktest.Leaf{}
				if c.dns != "" {
					leaf.DNS = []string{n.name + c.dns}
				}
				if c.uri != "" {
					leaf.URIs = []string{c.uri + n.name}
				}
				n.identity.cert = ca.Issue(t, leaf).TLS
				p := &b.Peers[0]
				if !c.serverName {
					p.ServerName = ""
				}
				for _, id := range c.ids {
					if id[0] == '.' {
						p.IDs = append(p.IDs, p.Name+id)
					} else {
						p.IDs = append(p.IDs, id+p.Name)
					}
				}
			})
			for i := range c.tries {
				resp, err := post(t, m.nodes[0], m.nodes[1], "x")
				if err != nil {
					t.Fatal(err)
				}
				if i == c.tries-1 && resp.StatusCode != http.StatusOK {
					t.Errorf("status %d, refused as %q", resp.StatusCode, signer.RefusalOf(resp))
				}
			}
		})
	}
}
