package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// An authority is a certificate authority, as a company has one. In earnest it is Vault, step-ca or the like,
// and providers/vault and providers/stepca enrol there.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	return &authority{cert, key}, err
}

// issue makes a TLS certificate for a server name, and its key, both in PEM.
func (a *authority) issue(name string) (cert, key []byte, err error) {
	tlsKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{name},
		NotAfter:    time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, tlsKey.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(tlsKey)
	return certPEM(leaf), key, err
}

func sign(template, issuer *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Minute)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// A folder holds the files of one node: ca.pem, node.pem, node-key.pem and node.ed25519.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

// trust writes the roots that the node trusts.
func (f folder) trust(roots ...*authority) error {
	var bundle []byte
	for _, a := range roots {
		bundle = append(bundle, certPEM(a.cert)...)
	}
	return f.write("ca.pem", bundle)
}

// enrol writes a new TLS certificate and its key.
func (f folder) enrol(a *authority, name string) error {
	cert, key, err := a.issue(name)
	if err != nil {
		return err
	}
	if err := f.write("node-key.pem", key); err != nil {
		return err
	}
	return f.write("node.pem", cert)
}

// signingKey writes a new Ed25519 key and returns its public half.
func (f folder) signingKey() (ed25519.PublicKey, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return public, f.write("node.ed25519", text)
}

// write replaces a file as a whole. A node that reads meanwhile sees the old file or the new one.
func (f folder) write(name string, text []byte) error {
	next := f.path(name + ".next")
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.path(name))
}

func certPEM(certs ...*x509.Certificate) []byte {
	var blocks [][]byte
	for _, c := range certs {
		blocks = append(blocks, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return slices.Concat(blocks...)
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}
