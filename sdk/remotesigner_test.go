package sdk_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// backend signs as a KMS would, and remembers what it was asked for.
type backend struct {
	key     crypto.Signer
	spoil   func(sig []byte) []byte
	lastOps crypto.SignerOpts
}

func (b *backend) sign(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	b.lastOps = opts
	sig, err := b.key.Sign(rand.Reader, digest, opts)
	if err == nil && b.spoil != nil {
		sig = b.spoil(sig)
	}
	clear(digest) // it is the backend's own
	return sig, err
}

func TestRemoteSignerSigns(t *testing.T) {
	digest := sha256.Sum256([]byte("message"))
	rsaKey := sdktest.NewKey(t, sdktest.RSA2048)
	const hash = crypto.SHA256
	for name, c := range map[string]struct {
		key    crypto.Signer
		digest []byte
		opts   crypto.SignerOpts
		salt   int // what the backend must see; 0: no PSS
	}{
		"Ed25519":             {sdktest.Ed25519(t), []byte("message"), crypto.Hash(0), 0},
		"Ed25519 of nothing":  {sdktest.Ed25519(t), nil, crypto.Hash(0), 0},
		"Ed25519ctx":          {sdktest.Ed25519(t), []byte("message"), &ed25519.Options{Context: "here"}, 0},
		"ECDSA":               {sdktest.NewKey(t, sdktest.ECDSAP256), digest[:], hash, 0},
		"RSA PKCS #1 v1.5":    {rsaKey, digest[:], hash, 0},
		"PSS, salt of hash":   {rsaKey, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}, 32},
		"PSS, longest salt":   {rsaKey, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: hash}, 256 - 2 - 32},
		"PSS, explicit salt":  {rsaKey, digest[:], &rsa.PSSOptions{SaltLength: 20, Hash: hash}, 20},
		"PSS, a zero options": {rsaKey, digest[:], &rsa.PSSOptions{Hash: hash}, 256 - 2 - 32},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backend{key: c.key}
			s := sdk.RemoteSigner(c.key.Public(), b.sign)
			sig, err := s.Sign(rand.Reader, c.digest, c.opts)
			if err != nil {
				t.Fatal(err)
			}
			if len(sig) == 0 {
				t.Error("no signature")
			}
			if c.salt != 0 {
				if pss, ok := b.lastOps.(*rsa.PSSOptions); !ok || pss.SaltLength != c.salt {
					t.Errorf("the backend saw %+v, want a salt of %d", b.lastOps, c.salt)
				}
			}
			// A signature of something else never gets through.
			b.spoil = func(sig []byte) []byte { sig[len(sig)/2] ^= 1; return sig }
			if _, err := s.Sign(rand.Reader, c.digest, c.opts); !errors.Is(err, sdk.ErrMaterial) {
				t.Errorf("a damaged signature: error is %v, want ErrMaterial", err)
			}
			b.spoil = func([]byte) []byte { return nil }
			if _, err := s.Sign(rand.Reader, c.digest, c.opts); !errors.Is(err, sdk.ErrMaterial) {
				t.Errorf("no signature: error is %v, want ErrMaterial", err)
			}
		})
	}
}

func TestRemoteSignerRefuses(t *testing.T) {
	digest := sha256.Sum256([]byte("message"))
	rsaKey, ecKey, edKey := sdktest.NewKey(t, sdktest.RSA2048), sdktest.NewKey(t, sdktest.ECDSAP256), sdktest.Ed25519(t)
	failing := func(context.Context, []byte, crypto.SignerOpts) ([]byte, error) { return nil, sdk.ErrPermission }
	for name, c := range map[string]struct {
		signer crypto.Signer
		digest []byte
		opts   crypto.SignerOpts
		want   error
	}{
		"no options":                 {sdk.RemoteSigner(ecKey.Public(), (&backend{key: ecKey}).sign), digest[:], nil, sdk.ErrConfig},
		"no function":                {sdk.RemoteSigner(ecKey.Public(), nil), digest[:], crypto.SHA256, sdk.ErrConfig},
		"a digest that is too short": {sdk.RemoteSigner(ecKey.Public(), (&backend{key: ecKey}).sign), digest[:31], crypto.SHA256, sdk.ErrConfig},
		"a hash that is not there":   {sdk.RemoteSigner(ecKey.Public(), (&backend{key: ecKey}).sign), digest[:16], crypto.MD4, sdk.ErrUnsupported},
		"another key's signature":    {sdk.RemoteSigner(ecKey.Public(), (&backend{key: sdktest.NewKey(t, sdktest.ECDSAP256)}).sign), digest[:], crypto.SHA256, sdk.ErrMaterial},
		"another Ed25519 key":        {sdk.RemoteSigner(edKey.Public(), (&backend{key: sdktest.Ed25519(t)}).sign), digest[:], crypto.Hash(0), sdk.ErrMaterial},
		"an Ed25519 key of 3 bytes":  {sdk.RemoteSigner(ed25519.PublicKey("key"), failing), digest[:], crypto.Hash(0), sdk.ErrConfig},
		"a kind of key that is none": {sdk.RemoteSigner("key", failing), digest[:], crypto.SHA256, sdk.ErrUnsupported},
		"PSS without a hash":         {sdk.RemoteSigner(rsaKey.Public(), failing), digest[:], &rsa.PSSOptions{}, sdk.ErrConfig},
		"PSS with a negative salt":   {sdk.RemoteSigner(rsaKey.Public(), failing), digest[:], &rsa.PSSOptions{SaltLength: -2, Hash: crypto.SHA256}, sdk.ErrConfig},
		"what the backend says":      {sdk.RemoteSigner(ecKey.Public(), failing), digest[:], crypto.SHA256, sdk.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.signer.Sign(rand.Reader, c.digest, c.opts); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want one that wraps %q", err, c.want)
			}
		})
	}
}

func TestRemoteSignerDoesNotWaitForEver(t *testing.T) {
	key := sdktest.Ed25519(t)
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		start := time.Now()
		heard := make(chan struct{})
		s := sdk.RemoteSigner(key.Public(), func(ctx context.Context, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
			<-ctx.Done()
			time.Sleep(time.Hour) // even one that does not hear its context
			close(heard)
			return nil, ctx.Err()
		})
		_, err := s.Sign(nil, []byte("m"), crypto.Hash(0))
		if d := time.Since(start); !errors.Is(err, sdk.ErrUnavailable) || d != limit {
			t.Errorf("after %v: error is %v, want ErrUnavailable after %v", d, err, limit)
		}
		<-heard
	})
}
