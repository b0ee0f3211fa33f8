package providertest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

var pemPrivateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----`)

// checkSecrets looks for secrets in an error as the usual verbs print it.
func (s *suite[P, V]) checkSecrets(t tb, err error) {
	t.Helper()
	text := fmt.Sprintf("%v\n%+v\n%#v", err, err, err)
	s.mu.Lock()
	known := append(append([]string(nil), s.h.Secrets...), s.secrets...)
	s.mu.Unlock()
	for i, secret := range known {
		if secret != "" && contains(text, secret) {
			t.Errorf("secret %d is in an error of %d bytes", i, len(text)) // the text itself would repeat it
		}
	}
	if pemPrivateKey.MatchString(text) {
		t.Errorf("an error of %d bytes holds what looks like a PEM private key", len(text))
	}
}

func (s *suite[P, V]) remember(v V) {
	if s.role.secrets == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = append(s.secrets, s.role.secrets(v)...)
}

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
