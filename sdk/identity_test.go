package sdk_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// Whatever order a provider's chain is in, peers get the leaf first and then what signed it.
func TestAChainIsPutInOrder(t *testing.T) {
	m := newMesh(t, 2, echo, func(_ *node, b *sdk.Builder) { b.Quorum.Writes = 1 })
	a, b := m.nodes[0], m.nodes[1]
	upper := m.ca.Intermediate(t, sdktest.CAOptions{Name: "upper"})
	lower := upper.Intermediate(t, sdktest.CAOptions{Name: "lower"})
	generation := uint64(1)
	for name, order := range map[string][]int{"right": {0, 1, 2}, "root side first": {2, 1, 0}, "leaf in the middle": {1, 0, 2}, "leaf first, the rest not": {0, 2, 1}} {
		leaf := lower.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}})
		mixed := tls.Certificate{PrivateKey: leaf.TLS.PrivateKey}
		for _, i := range order {
			mixed.Certificate = append(mixed.Certificate, leaf.TLS.Certificate[i])
		}
		given := slices.Clone(mixed.Certificate)
		b.identity.set(func(s *source) { s.cert = &mixed })
		generation++
		b.waitChange(t, sdk.RoleIdentity, generation)
		if got := b.fed.Status().Fingerprint; got != sdk.Fingerprint(leaf.Leaf) {
			t.Errorf("%s: %s serves, want the leaf", name, got)
		}
		conn, err := tls.Dial("tcp", b.listener.Addr().String(), a.fed.ClientTLS(b.name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		shown := conn.ConnectionState().PeerCertificates
		conn.Close()
		if !slices.EqualFunc(shown, leaf.Chain, (*x509.Certificate).Equal) {
			t.Errorf("%s: %d certificates are shown, in another order", name, len(shown))
		}
		if !slices.EqualFunc(given, mixed.Certificate, slices.Equal) {
			t.Errorf("%s: the provider's own chain was changed", name)
		}
	}
}

// A certificate without a subject, as many are, is named by what it has.
func TestACertificateWithoutASubjectIsNamed(t *testing.T) {
	ca := sdktest.NewCA(t)
	end := time.Now().Add(-time.Hour)
	old := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, NotBefore: end.Add(-time.Hour), NotAfter: end})
	_, err := sdk.Builder{
		Trust:    &source{roots: certs(ca.Certificate)},
		Identity: &source{cert: old.TLS},
		Peers:    []sdk.Peer{{URL: "https://b.example"}},
		Quorum:   quorum.Policy{Writes: 1},
	}.Build(t.Context())
	if err == nil || !strings.Contains(err.Error(), `certificate "a.example" ended`) {
		t.Errorf("%v, want the name of the certificate", err)
	}
}

// A provider that is slower than Build may take is not said to have had longer.
func TestBuildSaysHowLongItWaited(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := sdk.Builder{
		Trust: sdk.TrustFunc(func(ctx context.Context) (*sdk.TrustBundle, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
		Peers:  []sdk.Peer{{URL: "https://b.example"}},
		Quorum: quorum.Policy{Writes: 1},
	}.Build(ctx)
	if err == nil || strings.Contains(err.Error(), "within 30s") || !strings.Contains(err.Error(), "context deadline exceeded") {
		t.Errorf("%v, want the time that there was", err)
	}
}
