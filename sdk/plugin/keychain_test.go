package plugin

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestChainsOfKeysAreHostileUntilChecked(t *testing.T) {
	key, other := sdktest.Ed25519(t), sdktest.Ed25519(t)
	active := key.Public().(ed25519.PublicKey)
	ca := sdktest.NewCA(t).Intermediate(t)
	der := func(issued *sdktest.Issued) (out [][]byte) {
		for _, c := range issued.Chain {
			out = append(out, c.Raw)
		}
		return out
	}
	good := der(ca.Issue(t, sdktest.Leaf{Signer: key, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}))
	for name, tc := range map[string]struct {
		certs     [][]byte
		published []ed25519.PublicKey
		ok        bool
	}{
		"of the active key":  {certs: good, ok: true},
		"of a published key": {certs: der(ca.Issue(t, sdktest.Leaf{Signer: other})), published: []ed25519.PublicKey{other.Public().(ed25519.PublicKey)}, ok: true},
		"of a stranger":      {certs: der(ca.Issue(t, sdktest.Leaf{Signer: other}))},
		"of another kind":    {certs: der(ca.Issue(t, sdktest.Leaf{}))},
		"empty":              {},
		"no certificate":     {certs: [][]byte{{1, 2, 3}}},
		"endless":            {certs: append(good, make([][]byte, maxChain)...)},
	} {
		t.Run(name, func(t *testing.T) {
			chains, err := checkKeyChains(&pluginpb.SigningKeysResponse{Chains: []*pluginpb.KeyChain{{Certificates: tc.certs}}}, active, tc.published)
			if tc.ok && (err != nil || len(chains) != 1 || len(chains[0]) != len(tc.certs)) {
				t.Errorf("got %d chains and %v", len(chains), err)
			}
			if !tc.ok && !errors.Is(err, fault.ErrMaterial) {
				t.Errorf("error is %v, want one that wraps %q", err, fault.ErrMaterial)
			}
		})
	}
}
