//go:build unix && !darwin

package sdk

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rootPEM makes a certificate in PEM, a CA's or not.
func rootPEM(t *testing.T, name string, ca bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestRootsIn(t *testing.T) {
	a, b, c := rootPEM(t, "A", true), rootPEM(t, "B", true), rootPEM(t, "C", true)
	leaf := rootPEM(t, "leaf", false)
	garbage := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for name, tc := range map[string]struct {
		files       map[string]string
		links       map[string]string // name: target
		read, enter []string
		want        string
		err         error
	}{
		"the first file that is there": {files: map[string]string{"2.pem": a, "3.pem": b}, read: []string{"1.pem", "2.pem", "3.pem"}, want: "A"},
		"all folders":                  {files: map[string]string{"d/a": a, "e/b": b, "e/c": c}, enter: []string{"d", "none", "e"}, want: "A B C"},
		"a file and a folder, once":    {files: map[string]string{"all.pem": a + b, "d/a": a, "d/c": c}, read: []string{"all.pem"}, enter: []string{"d"}, want: "A B C"},
		"links in a folder":            {files: map[string]string{"d/a": a, "b.pem": b}, links: map[string]string{"d/hash.0": "a", "d/b": "../b.pem"}, enter: []string{"d"}, want: "A B"},
		"garbage between":              {files: map[string]string{"all.pem": a + garbage + leaf + "text\n" + b}, read: []string{"all.pem"}, want: "A B"},
		"nothing at all":               {read: []string{"1.pem"}, enter: []string{"d"}},
		"only what is no CA's":         {files: map[string]string{"all.pem": leaf}, read: []string{"all.pem"}},
		"a file that cannot be read":   {files: map[string]string{"d/a": a}, read: []string{"d"}, err: ErrUnavailable},
		"and a folder that can":        {files: map[string]string{"d/a": a}, read: []string{"d"}, enter: []string{"d"}, want: "A"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := func(names []string) []string {
				var all []string
				for _, n := range names {
					all = append(all, filepath.Join(dir, n))
				}
				return all
			}
			for n, data := range tc.files {
				path := filepath.Join(dir, n)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for n, target := range tc.links {
				if err := os.Symlink(target, filepath.Join(dir, n)); err != nil {
					t.Fatal(err)
				}
			}
			roots, err := rootsIn(t.Context(), in(tc.read), in(tc.enter))
			if !errors.Is(err, tc.err) {
				t.Fatalf("error is %v, want %v", err, tc.err)
			}
			var names []string
			for _, r := range roots {
				names = append(names, r.Subject.CommonName)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != tc.want {
				t.Errorf("roots are %q, want %q", got, tc.want)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte(a), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rootsIn(ended, nil, []string{dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: error is %v", err)
	}
}
