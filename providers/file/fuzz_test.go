package file

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// sealed reports an error that is not of this package's making.
func sealed(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, sdk.ErrMaterial) && !errors.Is(err, sdk.ErrExpired) {
		t.Errorf("error is %q, want one that wraps %q", err, sdk.ErrMaterial)
	}
	if err != nil && strings.Contains(err.Error(), "panic") {
		t.Error(err)
	}
}

func blobOf(kind string, data []byte) []blob {
	return []blob{{kind: kind, path: "fuzz", data: data, mode: fs.FileMode(0o600)}}
}

func FuzzBlocks(f *testing.F) {
	ca := sdktest.NewCA(f)
	f.Add(ca.PEM())
	f.Add(append(ca.PEM(), ca.PEM()[:50]...))
	f.Add([]byte("\xef\xbb\xbf-----BEGIN A-----\r\nAAAA\r\n-----END A-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := blocks(data)
		if err == nil && len(all) == 0 {
			t.Error("neither a block nor an error")
		}
		if err != nil {
			return
		}
		// What was read in full reads the same again.
		var text []byte
		for _, b := range all {
			encoded := pem.EncodeToMemory(b)
			if encoded == nil {
				return // headers that cannot be written
			}
			text = append(text, encoded...)
		}
		again, err := blocks(text)
		if err != nil || len(again) != len(all) {
			t.Errorf("%d blocks, written again: %d blocks, %v", len(all), len(again), err)
		}
	})
}

func FuzzTrust(f *testing.F) {
	ca := sdktest.NewCA(f)
	f.Add(ca.PEM())
	f.Add(ca.Certificate.Raw)
	f.Add(sdktest.CRLPEM(ca.CRL(f, sdktest.CRLOptions{})))
	f.Add(ca.CRL(f, sdktest.CRLOptions{}).Raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range []string{kindCA, kindCRL} {
			found, err := parseTrust(blobOf(kind, data), nil)
			sealed(t, err)
			if err == nil && kind == kindCA && len(found.roots) == 0 {
				t.Error("neither a root nor an error")
			}
		}
	})
}

func FuzzIdentity(f *testing.F) {
	id := sdktest.NewCA(f).Issue(f, sdktest.Leaf{})
	f.Add(append(id.CertPEM(), id.KeyPEM()...), "")
	p12, err := pkcs12.Modern.WithIterations(1).Encode(id.Key, id.Leaf, nil, "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p12, "x")
	f.Fuzz(func(t *testing.T, data []byte, pass string) {
		i := &Identity{Cert: "fuzz", Passphrase: func(context.Context) ([]byte, error) { return []byte(pass), nil }}
		p, err := i.parse(t.Context(), blobOf(kindCert, data))
		sealed(t, err)
		if err == nil && (p.key == nil || len(p.chain) == 0) {
			t.Error("neither a pair nor an error")
		}
	})
}

func FuzzPrivateKey(f *testing.F) {
	key := sdktest.Ed25519(f)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sdktest.KeyPEM(f, key), "")
	f.Add(der, "x")
	f.Add([]byte(key), "")
	f.Add([]byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "")
	f.Fuzz(func(t *testing.T, data []byte, pass string) {
		k := &Key{Path: "fuzz", Passphrase: func(context.Context) ([]byte, error) { return []byte(pass), nil }}
		key, err := k.parse(t.Context(), blobOf(kindSigning, data)[0])
		sealed(t, err)
		if err == nil {
			if _, err := key.Sign(t.Context(), data); err != nil {
				t.Errorf("a key that was read does not sign: %v", err)
			}
		}
	})
}

func FuzzEncryptedPKCS8(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00}, []byte("x"))
	f.Fuzz(func(t *testing.T, data, pass []byte) {
		if plain, err := decryptPKCS8(data, pass); err == nil && len(plain) >= len(data) {
			t.Error("more came out than went in")
		}
	})
}
