package transport_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

func staple(t *testing.T, issuer, by *x509.Certificate, key crypto.Signer, r ocsp.Response) []byte {
	t.Helper()
	if r.ThisUpdate.IsZero() {
		r.ThisUpdate = time.Now().Add(-time.Hour)
	}
	if r.NextUpdate.IsZero() {
		r.NextUpdate = time.Now().Add(time.Hour)
	}
	der, err := ocsp.CreateResponse(issuer, by, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// sign makes a certificate of the CA's that sdktest does not offer.
func sign(t *testing.T, ca *sdktest.CA, template *x509.Certificate) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key := sdktest.NewKey(t, sdktest.ECDSAP256)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(nil, template, ca.Certificate, key.Public(), ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func TestStapledOCSPResponses(t *testing.T) {
	ca, stranger := sdktest.NewCA(t), sdktest.NewCA(t)
	delegate, delegateKey := sign(t, ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: "responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	})
	leafAsDelegate, leafKey := sign(t, ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: "no responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	must := []pkix.Extension{{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}}
	root := func(t *testing.T, r ocsp.Response) []byte {
		return staple(t, ca.Certificate, ca.Certificate, ca.Key, r)
	}
	for name, c := range map[string]struct {
		must    bool
		respond func(t *testing.T, serial *big.Int) []byte // nil: none
		passes  bool
		inbound bool // whether it passes as a client's
	}{
		"none": {passes: true, inbound: true},
		"good": {respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Good, SerialNumber: n})
		}, passes: true, inbound: true},
		"revoked": {respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Revoked, SerialNumber: n, RevokedAt: time.Now()})
		}},
		"revoked, by a responder of the issuer": {respond: func(t *testing.T, n *big.Int) []byte {
			return staple(t, ca.Certificate, delegate, delegateKey,
				ocsp.Response{Status: ocsp.Revoked, SerialNumber: n, RevokedAt: time.Now(), Certificate: delegate})
		}},
		"revoked, by another certificate of the issuer": {respond: func(t *testing.T, n *big.Int) []byte {
			return staple(t, ca.Certificate, leafAsDelegate, leafKey,
				ocsp.Response{Status: ocsp.Revoked, SerialNumber: n, RevokedAt: time.Now(), Certificate: leafAsDelegate})
		}, passes: true, inbound: true},
		"revoked, by a stranger": {respond: func(t *testing.T, n *big.Int) []byte {
			return staple(t, stranger.Certificate, stranger.Certificate, stranger.Key,
				ocsp.Response{Status: ocsp.Revoked, SerialNumber: n, RevokedAt: time.Now()})
		}, passes: true, inbound: true},
		"revoked, out of date": {respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{
				Status: ocsp.Revoked, SerialNumber: n, RevokedAt: time.Now(), NextUpdate: time.Now().Add(-time.Minute),
			})
		}, passes: true, inbound: true},
		"revoked, another certificate": {respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Revoked, SerialNumber: new(big.Int).Add(n, big.NewInt(1)), RevokedAt: time.Now()})
		}, passes: true, inbound: true},
		"garbage":       {respond: func(*testing.T, *big.Int) []byte { return []byte("garbage") }, passes: true, inbound: true},
		"promised":      {must: true, inbound: true},
		"promised, bad": {must: true, respond: func(*testing.T, *big.Int) []byte { return []byte("garbage") }, inbound: true},
		"promised, good": {must: true, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Good, SerialNumber: n})
		}, passes: true, inbound: true},
		"promised, unknown": {must: true, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Unknown, SerialNumber: n})
		}, inbound: true},
		"promised, out of date": {must: true, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Good, SerialNumber: n, NextUpdate: time.Now().Add(-time.Minute)})
		}, inbound: true},
	} {
		for _, inbound := range []bool{false, true} {
			t.Run(name+map[bool]string{false: "/of a server", true: "/of a client"}[inbound], func(t *testing.T) {
				a, b := newNode(t, "a", transport.Options{}, nil), newNode(t, "b", transport.Options{}, nil)
				join(t, ca, a, b)
				n, other, passes := b, a, c.passes
				if inbound {
					n, other, passes = a, b, c.inbound
				}
				template := &x509.Certificate{
					DNSNames:    []string{n.host()},
					ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
				}
				if c.must {
					template.ExtraExtensions = must
				}
				leaf, key := sign(t, ca, template)
				id := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, Leaf: leaf, PrivateKey: key}
				if c.respond != nil {
					id.OCSPStaple = c.respond(t, leaf.SerialNumber)
				}
				update(t, n.tr, transport.Material{Identity: id, Trust: trust(ca), Peers: []transport.Peer{other.peer()}})
				_, _, err := send(t.Context(), a, b, "hello")
				refused := a.events.count(transport.EventRefused) + b.events.count(transport.EventRefused)
				if passes != (err == nil) || passes != (refused == 0) {
					t.Errorf("error %v, %d refusals, want it to pass: %v", err, refused, passes)
				}
			})
		}
	}
}
