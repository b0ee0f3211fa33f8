package sdktest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
)

// A KeyKind says which key a certificate has.
type KeyKind int

// The kinds. The zero value is ECDSA on P-256, which is quick to make and accepted everywhere.
const (
	ECDSAP256 KeyKind = iota
	ECDSAP384
	Ed25519Key
	RSA2048
	RSA3072
)

// NewKey returns a new private key of the given kind.
func NewKey(t TB, kind KeyKind) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case ECDSAP256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519Key:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	default:
		t.Fatalf("sdktest: key kind %d is none of this package's", kind)
	}
	if err != nil {
		t.Fatalf("sdktest: make a key: %v", err)
	}
	return key
}

// Ed25519 returns a new key for signing messages.
func Ed25519(t TB) ed25519.PrivateKey {
	t.Helper()
	return NewKey(t, Ed25519Key).(ed25519.PrivateKey)
}

// KeyPEM encodes a private key as PKCS #8 in PEM.
func KeyPEM(t TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("sdktest: encode a key: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// CertPEM encodes certificates in PEM, in the order given.
func CertPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
