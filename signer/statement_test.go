package signer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/signer"
)

func TestThumbprintMatchesRFC8037(t *testing.T) {
	// RFC 8037 appendix A.3
	pub, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := signer.Thumbprint(pub), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func testKey(t testing.TB, seed byte) signer.Key {
	t.Helper()
	k, err := signer.KeyOf(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testPublic(t testing.TB, k signer.Key) ed25519.PublicKey {
	t.Helper()
	pub, err := signer.PublicKeyOf(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func TestStatementHoldsForItsDomainPayloadAndKeyOnly(t *testing.T) {
	key := testKey(t, 1)
	pub := testPublic(t, key)
	sig, err := signer.SignStatement(t.Context(), key, "ack/1", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.VerifyStatement(pub, "ack/1", []byte("payload"), sig); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pub          ed25519.PublicKey
		domain, body string
		sig          []byte
	}{
		"another key":       {testPublic(t, testKey(t, 2)), "ack/1", "payload", sig},
		"another domain":    {pub, "ack/2", "payload", sig},
		"a shifted border":  {pub, "ack/1p", "ayload", sig},
		"another payload":   {pub, "ack/1", "payloae", sig},
		"an empty domain":   {pub, "", "payload", sig},
		"a long domain":     {pub, strings.Repeat("d", 65), "payload", sig},
		"a short signature": {pub, "ack/1", "payload", sig[:63]},
		"no signature":      {pub, "ack/1", "payload", nil},
		"a short key":       {pub[:31], "ack/1", "payload", sig},
		"no key":            {nil, "ack/1", "payload", sig},
		"the bare payload":  {pub, "ack/1", "payload", mustSign(t, key, []byte("payload"))},
	} {
		if err := signer.VerifyStatement(c.pub, c.domain, []byte(c.body), c.sig); !errors.Is(err, signer.ErrStatement) {
			t.Errorf("%s: got %v, want ErrStatement", name, err)
		}
	}
}

func mustSign(t testing.TB, key signer.Key, message []byte) []byte {
	t.Helper()
	sig, err := key.Sign(context.Background(), message)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestStatementRefusesWhatItCannotSign(t *testing.T) {
	for _, domain := range []string{"", "with space", "new\nline", "ünicode", strings.Repeat("d", 65)} {
		if _, err := signer.SignStatement(t.Context(), testKey(t, 1), domain, nil); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("domain %q: got %v, want ErrConfig", domain, err)
		}
	}
	if _, err := signer.SignStatement(t.Context(), nil, "ack/1", nil); !errors.Is(err, signer.ErrConfig) {
		t.Errorf("no key: got %v, want ErrConfig", err)
	}
}

// remoteKey is a key whose signatures come from elsewhere and may be wrong.
type remoteKey struct {
	public crypto.PublicKey
	sign   func(context.Context, []byte) ([]byte, error)
}

func (k remoteKey) Public() crypto.PublicKey { return k.public }

func (k remoteKey) Sign(ctx context.Context, m []byte) ([]byte, error) { return k.sign(ctx, m) }

func TestStatementChecksWhatARemoteKeyReturns(t *testing.T) {
	good, other := testKey(t, 1), testKey(t, 2)
	for name, sign := range map[string]func(context.Context, []byte) ([]byte, error){
		"signature of another key": other.Sign,
		"empty signature":          func(context.Context, []byte) ([]byte, error) { return nil, nil },
		"long signature":           func(context.Context, []byte) ([]byte, error) { return make([]byte, 65), nil },
	} {
		if _, err := signer.SignStatement(t.Context(), remoteKey{good.Public(), sign}, "ack/1", []byte("p")); !errors.Is(err, signer.ErrMaterial) {
			t.Errorf("%s: got %v, want ErrMaterial", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waits := func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
	if _, err := signer.SignStatement(ctx, remoteKey{good.Public(), waits}, "ack/1", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v", err)
	}
}

func TestPublicKeyOfRefusesPointsOfSmallOrder(t *testing.T) {
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signer.PublicKeyOf(ed25519.PublicKey(b)); !errors.Is(err, signer.ErrMaterial) {
			t.Errorf("%s: got %v, want ErrMaterial", s, err)
		}
	}
}

func TestKeyOfRefusesWhatIsNoWholeKey(t *testing.T) {
	whole := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	torn := bytes.Clone(whole)
	torn[40] ^= 1
	for name, k := range map[string]crypto.Signer{"short": whole[:31], "torn": ed25519.PrivateKey(torn), "nil": nil} {
		if _, err := signer.KeyOf(k); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}
