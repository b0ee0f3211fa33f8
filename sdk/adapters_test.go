package sdk_test

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/providertest"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// A supply is a value behind a function, and what goes wrong with it.
type supply[T any] struct {
	value *T
	err   error
}

func (s *supply[T]) get(context.Context) (*T, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.value, nil
}

func signingKey(t testing.TB) *sdk.KeySet {
	t.Helper()
	key, err := signer.KeyOf(sdktest.Ed25519(t))
	if err != nil {
		t.Fatal(err)
	}
	return &sdk.KeySet{Active: key}
}

func TestFunctionsConform(t *testing.T) {
	t.Run("TrustFunc", func(t *testing.T) {
		var s *supply[sdk.TrustBundle]
		next := func(t testing.TB) *sdk.TrustBundle {
			return &sdk.TrustBundle{Roots: []*x509.Certificate{sdktest.NewCA(t).Certificate}}
		}
		providertest.Trust(t, providertest.TrustHarness{
			New: func(t testing.TB) sdk.TrustProvider {
				s = &supply[sdk.TrustBundle]{value: next(t)}
				return sdk.TrustFunc(s.get)
			},
			Invalid: func(testing.TB) sdk.TrustProvider { return sdk.TrustFunc(nil) },
			Rotate:  func(t testing.TB) { s.value = next(t) },
			Break:   func(testing.TB) error { s.err = errors.New("no sentinel"); return sdk.ErrUnavailable },
			Mend:    func(testing.TB) { s.err = nil },
		})
	})
	t.Run("IdentityFunc", func(t *testing.T) {
		ca := sdktest.NewCA(t)
		var s *supply[sdk.Identity]
		next := func(t testing.TB) *sdk.Identity { return &sdk.Identity{Certificate: ca.Issue(t, sdktest.Leaf{}).TLS} }
		providertest.Identity(t, providertest.IdentityHarness{
			New: func(t testing.TB) sdk.IdentityProvider {
				s = &supply[sdk.Identity]{value: next(t)}
				return sdk.IdentityFunc(s.get)
			},
			Invalid: func(testing.TB) sdk.IdentityProvider { return sdk.IdentityFunc(nil) },
			Rotate:  func(t testing.TB) { s.value = next(t) },
			Break:   func(testing.TB) error { s.err = sdk.ErrExpired; return sdk.ErrExpired },
			Mend:    func(testing.TB) { s.err = nil },
		})
	})
	t.Run("KeyFunc", func(t *testing.T) {
		var s *supply[sdk.KeySet]
		providertest.Key(t, providertest.KeyHarness{
			New: func(t testing.TB) sdk.KeyProvider {
				s = &supply[sdk.KeySet]{value: signingKey(t)}
				return sdk.KeyFunc(s.get)
			},
			Invalid: func(testing.TB) sdk.KeyProvider { return sdk.KeyFunc(nil) },
			Rotate:  func(t testing.TB) { s.value = signingKey(t) },
			Break:   func(testing.TB) error { s.err = sdk.ErrNotFound; return sdk.ErrNotFound },
			Mend:    func(testing.TB) { s.err = nil },
		})
	})
}

func TestNilFunctionsAreConfigurationErrors(t *testing.T) {
	_, trust := sdk.TrustFunc(nil).TrustBundle(t.Context())
	_, identity := sdk.IdentityFunc(nil).Identity(t.Context())
	_, key := sdk.KeyFunc(nil).SigningKeys(t.Context())
	for name, err := range map[string]error{"TrustFunc": trust, "IdentityFunc": identity, "KeyFunc": key} {
		var c *sdk.ConfigError
		if !errors.Is(err, sdk.ErrConfig) || !errors.As(err, &c) || c.Field != name {
			t.Errorf("error is %v, want a ConfigError of %s", err, name)
		}
	}
}
