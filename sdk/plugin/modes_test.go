package plugin_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/signer"
)

// serveMode is main of the plugin that a test asked for.
func serveMode(mode string, args []string) {
	switch mode {
	case "good":
		plugin.Serve(good)
	default:
		fmt.Fprintln(os.Stderr, "no such mode:", mode)
		os.Exit(9)
	}
}

// good serves what is in its settings: "roots" in PEM, and the secrets "identity" (chain and key in PEM) and
// "seed" (of an Ed25519 key).
func good(_ context.Context, s plugin.Settings) (plugin.Providers, error) {
	if err := s.Only("roots", "identity", "seed"); err != nil {
		return plugin.Providers{}, err
	}
	var p plugin.Providers
	if v, ok := s.Values["roots"]; ok {
		roots, err := parseRoots(v)
		if err != nil {
			return p, err
		}
		p.Trust = trustFunc(func(context.Context) (*sdk.TrustBundle, error) {
			return &sdk.TrustBundle{Roots: roots}, nil
		})
	}
	if v, ok := s.Secrets["identity"]; ok {
		pair, err := tls.X509KeyPair([]byte(v), []byte(v))
		if err != nil {
			return p, fmt.Errorf("%w: identity: %w", fault.ErrConfig, err)
		}
		p.Identity = identityFunc(func(context.Context) (*sdk.Identity, error) {
			return &sdk.Identity{Certificate: &pair}, nil
		})
	}
	if v, ok := s.Secrets["seed"]; ok {
		if len(v) != ed25519.SeedSize {
			return p, fmt.Errorf("%w: the seed has %d octets", fault.ErrConfig, len(v))
		}
		key, err := signer.KeyOf(ed25519.NewKeyFromSeed([]byte(v)))
		if err != nil {
			return p, err
		}
		p.Key = keyFunc(func(context.Context) (*sdk.KeySet, error) {
			return &sdk.KeySet{Active: key}, nil
		})
	}
	return p, nil
}

type (
	trustFunc    func(context.Context) (*sdk.TrustBundle, error)
	identityFunc func(context.Context) (*sdk.Identity, error)
	keyFunc      func(context.Context) (*sdk.KeySet, error)
)

func (f trustFunc) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) { return f(ctx) }
func (f identityFunc) Identity(ctx context.Context) (*sdk.Identity, error)    { return f(ctx) }
func (f keyFunc) SigningKeys(ctx context.Context) (*sdk.KeySet, error)        { return f(ctx) }

func parseRoots(text string) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: roots: %w", fault.ErrConfig, err)
		}
		roots = append(roots, c)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: roots: no certificate", fault.ErrConfig)
	}
	return roots, nil
}
