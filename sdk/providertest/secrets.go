package providertest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
)

var pemPrivateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----`)

// spellings returns how a private key that this process holds could show up in a text. Keys that live elsewhere
// have none.
func spellings(key any) []string {
	var raw [][]byte
	switch k := key.(type) {
	case ed25519.PrivateKey:
		raw = append(raw, k, k.Seed())
	case *ecdsa.PrivateKey:
		if b, err := k.Bytes(); err == nil {
			raw = append(raw, b)
		}
	case *rsa.PrivateKey:
		raw = append(raw, k.D.Bytes(), k.Primes[0].Bytes())
	default:
		return nil
	}
	if der, err := x509.MarshalPKCS8PrivateKey(key); err == nil {
		raw = append(raw, der)
	}
	var all []string
	for _, b := range raw {
		all = append(all,
			string(b), hex.EncodeToString(b),
			base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b))
	}
	return all
}

// contains ignores the case of hex and the line breaks of PEM.
func contains(text, secret string) bool {
	if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), secret) {
		return true
	}
	return strings.Contains(strings.ReplaceAll(text, "\n", ""), secret)
}
