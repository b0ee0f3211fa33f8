package plugin

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A handshake is the one line that a plugin prints before it serves (go-plugin's, seven fields):
//
//	1|1|unix|/path/to/socket|grpc|base64 of the server's certificate
type handshake struct {
	network, address string
	certificate      *x509.Certificate
}

var errNoLineBreak = errors.New("without a line break")

// readHandshake takes the first line of standard output.
func readHandshake(r *bufio.Reader) (*handshake, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return nil, fmt.Errorf("the first line that it printed is longer than %d octets (%q): it is no handshake line; "+
			"standard output belongs to the handshake: print to standard error", len(line), shown(string(line)))
	case err != nil && len(bytes.TrimSpace(line)) > 0:
		return nil, fmt.Errorf("its standard output ended after %q, %w", shown(string(line)), errNoLineBreak)
	}
	return parseHandshake(string(line))
}

// shown is the beginning of a line, fit for an error.
func shown(line string) string {
	line = clean(strings.TrimRight(line, "\r\n"))
	if len(line) > 120 {
		line = line[:120] + "…"
	}
	return line
}

// parseHandshake judges the line by itself, so that the author reads what is wrong and how to cure it.
func parseHandshake(line string) (*handshake, error) {
	if strings.TrimSpace(line) == "" {
		return nil, errors.New("it ended, or closed its standard output, before the handshake line; " +
			"is it a plugin? Its log may tell")
	}
	parts := strings.Split(strings.TrimSpace(line), "|")
	if len(parts) < 5 {
		return nil, fmt.Errorf("it printed %q before the handshake line, or is no plugin; "+
			"standard output belongs to the handshake: print to standard error", shown(line))
	}
	if parts[0] != "1" {
		return nil, fmt.Errorf("it speaks version %q of go-plugin's handshake, want 1", clean(parts[0]))
	}
	if v, err := strconv.Atoi(parts[1]); err != nil || v != protocolVersion {
		return nil, fmt.Errorf("it speaks version %q of the protocol, this node speaks %d; "+
			"use a plugin built for it", clean(parts[1]), protocolVersion)
	}
	if parts[4] != "grpc" {
		return nil, fmt.Errorf("it serves %q, want grpc", clean(parts[4]))
	}
	if len(parts) < 6 || len(parts[5]) == 0 {
		return nil, errors.New("it sent no certificate: it must serve mutual TLS with the certificate in PLUGIN_CLIENT_CERT, " +
			"and put its own into field 6 of the handshake line")
	}
	der, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[5], "="))
	if err != nil {
		return nil, fmt.Errorf("field 6 of the handshake line is not base64 of a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("field 6 of the handshake line is no certificate: %w", err)
	}
	return &handshake{network: parts[2], address: parts[3], certificate: cert}, nil
}

// hostCertificate makes the certificate by which the plugin knows its host, for one process. It is P-256,
// which every TLS library accepts.
func hostCertificate(name string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(30, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// clientTLS accepts one server certificate and no other: the one of the handshake line. Neither names nor
// dates matter then. Another one is told to refused, too, because gRPC would try again for as long as it may.
func clientTLS(own tls.Certificate, server *x509.Certificate, refused func(error)) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         "localhost",
		InsecureSkipVerify: true, // VerifyConnection is stricter than a chain to a pool
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &own, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, server.Raw) {
				err := fmt.Errorf("%w: its socket shows another certificate than its handshake line", fault.ErrPermission)
				refused(err)
				return err
			}
			return nil
		},
	}
}
