package plugin_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/signer"
)

// serveMode is main of the plugin that a test asked for.
func serveMode(mode string, args []string) {
	switch mode {
	case "folder":
		plugin.Serve(folder)
	case "good":
		plugin.Serve(good)
	case "prints":
		fmt.Println("hello from the plugin")
		plugin.Serve(good)
	case "prints-on":
		for {
			fmt.Print(strings.Repeat("x", 1<<16))
		}
	case "exits":
		fmt.Fprintln(os.Stderr, "no licence today")
		os.Exit(7)
	case "hangs":
		time.Sleep(time.Hour)
	case "hangs-after":
		line := "1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/s|grpc|" + certificateLine()
		fmt.Println(line)
		time.Sleep(time.Hour)
	case "version":
		fmt.Println("1|99|unix|/s|grpc|" + certificateLine())
		time.Sleep(time.Hour)
	case "netrpc":
		fmt.Println("1|1|unix|/s|netrpc|" + certificateLine())
		time.Sleep(time.Hour)
	case "plain":
		fmt.Println("1|1|unix|/s|grpc|")
		time.Sleep(time.Hour)
	case "halfcert":
		fmt.Println("1|1|unix|/s|grpc|" + certificateLine()[:80])
		time.Sleep(time.Hour)
	case "elsewhere":
		fmt.Println("1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/../../s|grpc|" + certificateLine())
		time.Sleep(time.Hour)
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:22|grpc|" + certificateLine())
		time.Sleep(time.Hour)
	default:
		lie(mode)
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

// certificateLine is field 6 of a handshake line.
func certificateLine() string {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return base64.RawStdEncoding.EncodeToString(der)
}
