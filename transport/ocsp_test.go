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
		if r.NextUpdate.IsZero() {
			r.NextUpdate = time.Now().Add(time.Hour)
		}
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

var mustStaple = []byte{0x30, 3, 2, 1, 5}

func features(der []byte) []pkix.Extension {
	return []pkix.Extension{{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: der}}
}

func TestStapledOCSPResponses(t *testing.T) {
	ca, stranger := sdktest.NewCA(t), sdktest.NewCA(t)
	delegate, delegateKey := sign(t, ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: "responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	})
	leafAsDelegate, leafKey := sign(t, ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: "no responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	root := func(t *testing.T, r ocsp.Response) []byte {
		return staple(t, ca.Certificate, ca.Certificate, ca.Key, r)
	}
	for name, c := range map[string]struct {
		must    []byte                                     // the TLS features
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
		"promised":      {must: mustStaple, inbound: true},
		"promised, bad": {must: mustStaple, respond: func(*testing.T, *big.Int) []byte { return []byte("garbage") }, inbound: true},
		"promised, good": {must: mustStaple, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Good, SerialNumber: n})
		}, passes: true, inbound: true},
		"promised, unknown": {must: mustStaple, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Unknown, SerialNumber: n})
		}, inbound: true},
		"promised, out of date": {must: mustStaple, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Good, SerialNumber: n, NextUpdate: time.Now().Add(-time.Minute)})
		}, inbound: true},
		"promised, good and recent without an end": {must: mustStaple, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Good, SerialNumber: n, ThisUpdate: time.Now().Add(-6 * 24 * time.Hour)})
		}, passes: true, inbound: true},
		"promised, good long ago without an end": {must: mustStaple, respond: func(t *testing.T, n *big.Int) []byte {
			return root(t, ocsp.Response{Status: ocsp.Good, SerialNumber: n, ThisUpdate: time.Now().Add(-8 * 24 * time.Hour)})
		}, inbound: true},
		"revoked long ago without an end": {respond: func(t *testing.T, n *big.Int) []byte {
			long := time.Now().Add(-8 * 24 * time.Hour)
			return root(t, ocsp.Response{Status: ocsp.Revoked, SerialNumber: n, ThisUpdate: long, RevokedAt: long})
		}},
		"promised among others":             {must: []byte{0x30, 6, 2, 1, 17, 2, 1, 5}, inbound: true},
		"promised, as far as can be told":   {must: []byte{0x30, 3, 2, 1}, inbound: true},
		"promised, and more follows":        {must: []byte{0x30, 3, 2, 1, 17, 0}, inbound: true},
		"another feature promised":          {must: []byte{0x30, 3, 2, 1, 17}, passes: true, inbound: true},
		"promised, in a list within a list": {must: []byte{0x30, 5, 0x30, 3, 2, 1, 5}, inbound: true},
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
				if c.must != nil {
					template.ExtraExtensions = features(c.must)
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

// A session that is resumed repeats the response of its first handshake, which ends.
func TestNoSessionIsResumedWithAServerThatStaples(t *testing.T) {
	for name, ext := range map[string][]pkix.Extension{"promised": features(mustStaple), "unasked": nil} {
		t.Run(name, func(t *testing.T) {
			ca := sdktest.NewCA(t)
			a := newNode(t, "a", transport.Options{Resumption: true, IdleTimeout: 40 * time.Millisecond}, nil)
			b := newNode(t, "b", transport.Options{Resumption: true}, nil)
			join(t, ca, a, b)
			closed := func() bool { return peerStats(t, a.tr, "b").Open[transport.Quorum] == 0 }
			for range 2 {
				mustSend(t, a, b, "x")
				eventually(t, "idle connections closed", closed)
			}
			if st := peerStats(t, a.tr, "b"); st.Resumed != 1 {
				t.Fatalf("%d sessions resumed without a response, want 1: the test would prove nothing", st.Resumed)
			}
			leaf, key := sign(t, ca, &x509.Certificate{
				DNSNames:        []string{b.host()},
				ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
				ExtraExtensions: ext,
			})
			id := &tls.Certificate{
				Certificate: [][]byte{leaf.Raw}, Leaf: leaf, PrivateKey: key,
				OCSPStaple: staple(t, ca.Certificate, ca.Certificate, ca.Key, ocsp.Response{Status: ocsp.Good, SerialNumber: leaf.SerialNumber}),
			}
			update(t, b.tr, transport.Material{Identity: id, Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
			for range 3 {
				mustSend(t, a, b, "x")
				eventually(t, "idle connections closed", closed)
			}
			if st := peerStats(t, a.tr, "b"); st.Resumed != 1 || st.Handshakes < 5 {
				t.Errorf("%d of %d handshakes resumed a session with a server that staples", st.Resumed-1, st.Handshakes)
			}
		})
	}
}
