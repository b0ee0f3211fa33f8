package providertest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

var identityRole = role[sdk.IdentityProvider, *sdk.Identity]{
	pull: func(ctx context.Context, p sdk.IdentityProvider) (*sdk.Identity, error) {
		return p.Identity(ctx)
	},
	inspect: inspectIdentity,
	print:   printIdentity,
	secrets: func(id *sdk.Identity) []string {
		if id == nil || id.Certificate == nil {
			return nil
		}
		return spellings(id.Certificate.PrivateKey)
	},
	extra: map[string]func(tb, *suite[sdk.IdentityProvider, *sdk.Identity]){"Handshake": handshakes},
}

// handshakes shows that the key answers for the certificate, in both roles that TLS has.
func handshakes(t tb, s *suite[sdk.IdentityProvider, *sdk.Identity]) {
	ctx, cancel := context.WithTimeout(context.Background(), s.h.Timeout)
	defer cancel()
	id := s.must(t, s.h.New(t))
	leaf, err := x509.ParseCertificate(id.Certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(ctx, id.Certificate, false); err != nil {
		t.Errorf("TLS 1.3 handshake as a client: %v", err)
	}
	if allows(leaf, x509.ExtKeyUsageServerAuth) {
		if err := handshake(ctx, id.Certificate, true); err != nil {
			t.Errorf("TLS 1.3 handshake as a server: %v", err)
		}
	}
}

func inspectIdentity(t tb, id *sdk.Identity) {
	t.Helper()
	if id == nil || id.Certificate == nil {
		t.Error("the identity, or its Certificate, is nil without an error")
		return
	}
	if id.RefreshAfter < 0 {
		t.Errorf("RefreshAfter is %v, want 0 or more", id.RefreshAfter)
	}
	if len(id.Certificate.Certificate) == 0 {
		t.Error("the certificate chain is empty")
		return
	}
	var chain []*x509.Certificate
	for i, der := range id.Certificate.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Errorf("certificate %d of the chain does not parse: %v", i, err)
			return
		}
		chain = append(chain, c)
	}
	leaf := chain[0]
	if l := id.Certificate.Leaf; l != nil && !bytes.Equal(l.Raw, leaf.Raw) {
		t.Error("Certificate.Leaf is not the first certificate of the chain")
	}
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		t.Errorf("the leaf is valid from %v to %v, which is not now; that is an error that wraps ErrExpired",
			leaf.NotBefore, leaf.NotAfter)
	}
	if !allows(leaf, x509.ExtKeyUsageClientAuth) {
		t.Error("the leaf may not be used as a client (no clientAuth)")
	}
	for i := 1; i < len(chain); i++ {
		if err := chain[i-1].CheckSignatureFrom(chain[i]); err != nil {
			t.Errorf("certificate %d (%s) of the chain is not signed by the next (%s): %v",
				i-1, chain[i-1].Subject, chain[i].Subject, err)
		}
	}
	key, ok := id.Certificate.PrivateKey.(crypto.Signer)
	if !ok {
		t.Errorf("the private key is a %T, which is no crypto.Signer", id.Certificate.PrivateKey)
		return
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(leaf.PublicKey) {
		t.Error("the private key does not belong to the leaf")
	}
}

func printIdentity(id *sdk.Identity) string {
	if id == nil || id.Certificate == nil {
		return "nil"
	}
	parts := make([]string, 0, len(id.Certificate.Certificate)+1)
	for _, der := range id.Certificate.Certificate {
		parts = append(parts, fmt.Sprintf("cert:%x", sha256.Sum256(der)))
	}
	if key, ok := id.Certificate.PrivateKey.(crypto.Signer); ok {
		parts = append(parts, printKey(key.Public()))
	}
	return strings.Join(parts, " ")
}

func printKey(pub crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return fmt.Sprintf("key:%T", pub)
	}
	return fmt.Sprintf("key:%x", sha256.Sum256(der))
}

func allows(c *x509.Certificate, use x509.ExtKeyUsage) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, use) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// handshake makes a TLS 1.3 connection in memory in which one side shows cert, and checks that the other side saw its
// leaf.
func handshake(ctx context.Context, cert *tls.Certificate, asServer bool) error {
	other, err := throwaway()
	if err != nil {
		return err
	}
	serverCert, clientCert := other, cert
	if asServer {
		serverCert, clientCert = cert, other
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(a, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*serverCert},
		ClientAuth:   tls.RequireAnyClientCert,
	})
	client := tls.Client(b, &tls.Config{
		MinVersion:           tls.VersionTLS13,
		InsecureSkipVerify:   true, // the possession of the key is tested here, not the chain
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return clientCert, nil },
	})
	served := make(chan error, 1)
	go func() {
		err := server.HandshakeContext(ctx)
		if err != nil {
			a.Close()
		}
		served <- err
	}()
	err = client.HandshakeContext(ctx)
	if err != nil {
		b.Close()
	} else {
		// TLS 1.3 tells the client of a refusal only when it reads; drain what the server still writes.
		go func() { _, _ = client.Read(make([]byte, 1)) }()
	}
	if serr := <-served; err == nil {
		err = serr
	}
	if err != nil {
		return err
	}
	seen := server.ConnectionState().PeerCertificates
	if asServer {
		seen = client.ConnectionState().PeerCertificates
	}
	if len(seen) == 0 || !bytes.Equal(seen[0].Raw, cert.Certificate[0]) {
		return errors.New("the other side saw another certificate")
	}
	return nil
}

// throwaway makes a certificate for the other side of a handshake.
func throwaway() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "providertest"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
