// Package smallca is a certificate authority in one file, for the plugin examples: it issues a certificate to
// whoever brings the token, over HTTPS with a certificate of its own.
//
//	GET  /root                              the root, DER
//	POST /enrol  {"csr": base64 of DER}     {"chain": [base64 of DER, leaf first]}
//	     Authorization: Bearer TOKEN
//
// It keeps nothing, and is no model for a real one.
package smallca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"
)

// A CA is a running authority.
type CA struct {
	URL    string // "https://127.0.0.1:port"
	SHA256 string // of the root, hexadecimal: what a client pins
	Token  string // what a client must bring

	root   *x509.Certificate
	key    *ecdsa.PrivateKey
	life   time.Duration
	server *http.Server
}

// Start starts an authority that issues certificates of the given life, on addr ("127.0.0.1:0" takes any
// port). The caller closes it.
func Start(addr string, life time.Duration) (*CA, error) {
	c := &CA{Token: rand.Text(), life: life}
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Small CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	if c.root, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	c.SHA256 = hex.EncodeToString(sum[:])

	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := c.issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, own.Public(), 24*time.Hour)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	c.URL = "https://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /root", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(c.root.Raw) })
	mux.HandleFunc("POST /enrol", c.enrol)
	c.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: own}},
		},
	}
	go func() { _ = c.server.ServeTLS(l, "", "") }()
	return c, nil
}

// Close stops the authority.
func (c *CA) Close() error { return c.server.Close() }

// enrol issues a certificate for the names of a signing request.
func (c *CA) enrol(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+c.Token)) != 1 {
		http.Error(w, "wrong token", http.StatusForbidden)
		return
	}
	var in struct{ CSR []byte }
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&in); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	csr, err := x509.ParseCertificateRequest(in.CSR)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		http.Error(w, "not a signing request", http.StatusBadRequest)
		return
	}
	der, err := c.issue(&x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames, URIs: csr.URIs}, csr.PublicKey, c.life)
	if err != nil {
		http.Error(w, "cannot issue", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string][][]byte{"chain": {der}})
}

// issue completes a template and signs it.
func (c *CA) issue(template *x509.Certificate, pub any, life time.Duration) ([]byte, error) {
	template.SerialNumber = serial()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(life)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, c.root, pub, c.key)
	if err != nil {
		return nil, fmt.Errorf("smallca: %w", err)
	}
	return der, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}
