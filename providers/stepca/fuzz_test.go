package stepca

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A state file is whatever a disk has made of it.
func FuzzState(f *testing.F) {
	issued := sdktest.NewCA(f).Issue(f, sdktest.Leaf{DNS: []string{"a.example"}})
	h := &held{key: issued.Key, chain: issued.Chain}
	s, err := h.encode(true)
	must(f, err)
	c := New(Config{URL: "https://ca.example", Fingerprint: strings.Repeat("0", 64)})
	path := filepath.Join(f.TempDir(), "seed.json")
	must(f, c.writeState(path, stateFile{Certs: []stateCert{s}}))
	raw, err := os.ReadFile(path)
	must(f, err)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte(`{"version":1,"certificates":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseState(raw, "state.json")
		if err != nil {
			if len(raw) > 200 && strings.Contains(err.Error(), string(raw[:200])) {
				t.Error("the error quotes the file")
			}
			return
		}
		for _, sc := range s.Certs {
			if h, err := sc.decode(nil); err == nil && (h.key == nil || len(h.chain) == 0 || len(h.chain) > maxChain) {
				t.Error("half a certificate was accepted")
			}
		}
		_, _ = parsePEM(s.Roots)
	})
}

func FuzzToken(f *testing.F) {
	enc := base64.RawURLEncoding.EncodeToString
	f.Add("e30." + enc([]byte(`{"sub":"a","aud":["x","y"],"exp":1}`)) + ".e30")
	f.Add("e30." + enc([]byte(`{"aud":"x","sans":["a"]}`)) + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := readClaims(token); err != nil && len(token) > 32 && strings.Contains(err.Error(), token) {
			t.Error("the error quotes the token")
		}
		_ = OneTimeToken(token).validate(nil)
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"status":401,"message":"no\nway"}`))
	f.Add([]byte(`{"type":"urn:x","detail":"no"}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := message(bytes.NewReader(raw))
		if len(m) > maxMessage+len("…") || strings.ContainsAny(m, "\r\n\x00\x1b") {
			t.Errorf("%q is too long, or would break a log line", m)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, n := range []string{"a.example", "10.0.0.1", "::1", "spiffe://example/a", "a@example.org", "urn:x:y", "A b", "https://[::1"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, err := parseNames([]string{name})
		if n := len(s.dns) + len(s.ips) + len(s.mails) + len(s.uris); (err == nil) != (n == 1) {
			t.Errorf("%q: %d names and %v", name, n, err)
		}
	})
}
