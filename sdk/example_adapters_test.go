package sdk_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/signer"
)

// Roots that the application already has become a provider.
func ExampleTrustFunc() {
	roots := []*x509.Certificate{{Raw: []byte("…")}} // from wherever they are
	trust := sdk.TrustFunc(func(context.Context) (*sdk.TrustBundle, error) {
		return &sdk.TrustBundle{Roots: roots}, nil
	})
	bundle, err := trust.TrustBundle(context.Background())
	fmt.Println(len(bundle.Roots), err)
	// Output: 1 <nil>
}

// A certificate that something else keeps fresh.
func ExampleIdentityFunc() {
	current := func() *tls.Certificate { return &tls.Certificate{} }
	identity := sdk.IdentityFunc(func(context.Context) (*sdk.Identity, error) {
		return &sdk.Identity{Certificate: current()}, nil
	})
	id, err := identity.Identity(context.Background())
	fmt.Println(id.Certificate != nil, err)
	// Output: true <nil>
}

// A signing key from memory.
func ExampleKeyFunc() {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	key := sdk.KeyFunc(func(context.Context) (*sdk.KeySet, error) {
		active, err := signer.KeyOf(private)
		return &sdk.KeySet{Active: active}, err
	})
	set, err := key.SigningKeys(context.Background())
	fmt.Printf("%T %v\n", set.Active.Public(), err)
	// Output: ed25519.PublicKey <nil>
}

// While one CA replaces another, both are trusted; either source may fail for a while.
func ExampleJoinTrust() {
	source := func(raw string) sdk.TrustProvider {
		return sdk.TrustFunc(func(context.Context) (*sdk.TrustBundle, error) {
			return nil, fmt.Errorf("%s: %w", raw, sdk.ErrUnavailable)
		})
	}
	trust := sdk.JoinTrust(source("old CA"), source("new CA"))
	trust.OnFailure = func(source int, err error) { slog.Warn("a source of trust fails", "source", source, "error", err) }
	_, err := trust.TrustBundle(context.Background())
	fmt.Println(err)
	// Output:
	// source 0: old CA: unavailable
	// source 1: new CA: unavailable
}

// A key that never leaves its KMS signs handshakes and messages.
func ExampleRemoteSigner() {
	public, private, err := ed25519.GenerateKey(rand.Reader) // the KMS's
	if err != nil {
		panic(err)
	}
	remote := sdk.RemoteSigner(public, func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		return private.Sign(nil, digest, opts) // a request to the KMS, bounded by ctx
	})
	key, err := signer.KeyOf(remote)
	if err != nil {
		panic(err)
	}
	sig, err := key.Sign(context.Background(), []byte("message"))
	fmt.Println(ed25519.Verify(public, []byte("message"), sig), err)
	// Output: true <nil>
}

// The public web's roots are trusted only when they are asked for.
func ExampleSystemRoots() {
	b := sdk.Builder{Trust: sdk.SystemRoots{}}
	fmt.Printf("%T\n", b.Trust)
	// Output: sdk.SystemRoots
}

func ExampleFromSlog() {
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	logger := sdk.FromSlog(slog.New(handler))
	logger.Named("federation").Info("certificate renewed", "peer", "peer-0")
	// Output: level=INFO msg="certificate renewed" logger=federation peer=peer-0
}
