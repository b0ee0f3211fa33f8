package providertest_test

import (
	"context"
	"crypto/x509"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// memory is a provider, and a source that the test can move.
type memory struct {
	bundle *sdk.TrustBundle
	down   bool
}

func (m *memory) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if m.down {
		return nil, sdk.ErrUnavailable
	}
	return m.bundle, nil
}

func (m *memory) renew(t testing.TB) {
	m.bundle = &sdk.TrustBundle{Roots: []*x509.Certificate{sdktest.NewCA(t).Certificate}}
}

// The whole conformance test of a provider.
func TestExampleOfAHarness(t *testing.T) {
	var m *memory
	providertest.Trust(t, providertest.TrustHarness{
		New: func(t testing.TB) sdk.TrustProvider {
			m = &memory{}
			m.renew(t)
			return m
		},
		Rotate: func(t testing.TB) { m.renew(t) },
		Break:  func(testing.TB) error { m.down = true; return sdk.ErrUnavailable },
		Mend:   func(testing.TB) { m.down = false },
	})
}
