package plugin

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// authority makes a CA certificate that all share a name and a key identifier.
func authority(t *testing.T, serial int64, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "CA"}, SubjectKeyId: []byte("id"),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func revocations(t *testing.T, issuer *x509.Certificate, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestARevocationListIsSignedByOneOfTheRootsThatItNames(t *testing.T) {
	one, two, three := p256(t), p256(t), p256(t)
	a, b, c := authority(t, 1, one.Public(), one), authority(t, 2, two.Public(), two), authority(t, 3, three.Public(), three)
	r := &pluginpb.TrustBundleResponse{Roots: [][]byte{a.Raw, b.Raw, a.Raw}, Crls: [][]byte{revocations(t, b, two)}}
	if bundle, err := checkTrust(t.Context(), r); err != nil || len(bundle.Roots) != 2 || len(bundle.CRLs) != 1 {
		t.Errorf("signed by the second of two: %+v, %v", bundle, err)
	}
	r.Crls = [][]byte{revocations(t, c, three)}
	if _, err := checkTrust(t.Context(), r); !errors.Is(err, fault.ErrMaterial) || !strings.Contains(err.Error(), `revocation list 0: it is not signed by "CN=CA"`) {
		t.Errorf("signed by neither: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := checkTrust(ended, r); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// Each signature costs the host what the plugin's key costs; many roots of one name, or a key of a size that nobody has,
// would keep it busy for hours.
func TestWhatCostsTheHostTooMuchIsRefusedFirst(t *testing.T) {
	key := p256(t)
	r := &pluginpb.TrustBundleResponse{}
	var last *x509.Certificate
	for i := range maxNamed + 1 {
		last = authority(t, int64(i), key.Public(), key)
		r.Roots = append(r.Roots, last.Raw)
	}
	if _, err := checkTrust(t.Context(), r); err != nil {
		t.Errorf("many roots of one name, no list: %v", err)
	}
	r.Crls = [][]byte{revocations(t, last, key)}
	if _, err := checkTrust(t.Context(), r); err == nil || !strings.Contains(err.Error(), "33 roots have the name of its issuer") {
		t.Errorf("many roots of one name: %v", err)
	}

	n := new(big.Int).SetBit(big.NewInt(1), 100_000, 1)
	long := authority(t, 1, &rsa.PublicKey{N: n, E: 1<<31 - 1}, key)
	if _, err := checkTrust(t.Context(), &pluginpb.TrustBundleResponse{Roots: [][]byte{long.Raw}}); !errors.Is(err, fault.ErrMaterial) || !strings.Contains(err.Error(), "an RSA key of 100001 bits") {
		t.Errorf("a long key: %v", err)
	}
	leaf := authority(t, 2, key.Public(), key)
	if _, err := checkIdentity(&pluginpb.IdentityResponse{Chain: [][]byte{leaf.Raw, long.Raw}}, time.Now()); !errors.Is(err, fault.ErrMaterial) || !strings.Contains(err.Error(), "an RSA key") {
		t.Errorf("a long key in a chain: %v", err)
	}
}
