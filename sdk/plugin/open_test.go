package plugin_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

const testSeed = "0123456789abcdef0123456789abcdef"

// material fills in settings for every role of mode "good".
func material(t testing.TB, c plugin.Config) (plugin.Config, *sdktest.CA) {
	t.Helper()
	ca := sdktest.NewCA(t)
	id := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
	c.Settings = map[string]string{"roots": string(ca.PEM())}
	c.Secrets = map[string]plugin.Secret{
		"identity": plugin.Secret(append(id.CertPEM(), id.KeyPEM()...)),
		"seed":     testSeed,
	}
	return c, ca
}

func TestOpenGivesTheRolesOfThePlugin(t *testing.T) {
	c, ca := material(t, config(t, "good"))
	p := open(t, c)
	ctx := within(t)

	trust, err := p.Trust()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := trust.TrustBundle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(bundle.Roots) != 1 || !bundle.Roots[0].Equal(ca.Certificate) {
		t.Errorf("roots are %v, want the one of the settings", bundle.Roots)
	}

	identity, err := p.Identity()
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := id.Certificate.PrivateKey.(crypto.Signer); !ok {
		t.Errorf("the private key is %T", id.Certificate.PrivateKey)
	}

	key, err := p.Key()
	if err != nil {
		t.Fatal(err)
	}
	set, err := key.SigningKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := ed25519.NewKeyFromSeed([]byte(testSeed))
	sig, err := set.Active.Sign(ctx, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sig, ed25519.Sign(want, []byte("hello"))) {
		t.Error("the signature is not that of the key in the settings")
	}

	s := p.Status()
	if s.State != plugin.Serving || s.Generation != 1 || s.PID == 0 || s.Digest != c.SHA256 || len(s.Material) != 3 {
		t.Errorf("status is %+v", s)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.TrustBundle(ctx); !errors.Is(err, fault.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	if p.Status().State != plugin.Closed {
		t.Errorf("state after Close is %v", p.Status().State)
	}
}

func TestARoleThatThePluginLacksIsAnErrorThatSaysSo(t *testing.T) {
	c, _ := material(t, config(t, "good"))
	delete(c.Secrets, "seed")
	p := open(t, c)
	if _, err := p.Key(); !errors.Is(err, fault.ErrUnsupported) {
		t.Errorf("Key: %v, want ErrUnsupported", err)
	}
}
