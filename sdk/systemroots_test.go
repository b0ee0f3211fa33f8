package sdk_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/providertest"
)

func TestSystemRootsConform(t *testing.T) {
	_, err := sdk.SystemRoots{}.TrustBundle(t.Context())
	switch {
	case errors.Is(err, sdk.ErrNotFound), errors.Is(err, sdk.ErrUnsupported):
		t.Skip(err) // honest: there are none here
	case err != nil:
		t.Fatal(err)
	}
	providertest.Trust(t, providertest.TrustHarness{
		New: func(testing.TB) sdk.TrustProvider { return sdk.SystemRoots{} },
	})
}

func TestSystemRootsAreManyAndDistinct(t *testing.T) {
	b, err := sdk.SystemRoots{}.TrustBundle(context.Background())
	if errors.Is(err, sdk.ErrNotFound) || errors.Is(err, sdk.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range b.Roots {
		if seen[string(c.Raw)] {
			t.Errorf("%s is listed twice", c.Subject)
		}
		seen[string(c.Raw)] = true
	}
	if b.RefreshAfter <= 0 {
		t.Errorf("RefreshAfter is %v on %s, want the roots read again", b.RefreshAfter, runtime.GOOS)
	}
}
