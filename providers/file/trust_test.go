package file_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// refused fails unless err wraps the sentinel, names the file and says what to do about it.
func refused(t *testing.T, err, sentinel error, path string, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if !errors.Is(err, sentinel) {
		t.Errorf("error is %q, want one that wraps %q", err, sentinel)
	}
	for _, w := range append(words, path) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error is %q, which does not say %q", err, w)
		}
	}
	if text := err.Error(); !strings.HasPrefix(text, "file: ") || strings.Contains(text, ": file: ") {
		t.Errorf("error is %q, want the package's prefix once", err)
	}
	if strings.Contains(err.Error(), "-----BEGIN ") && strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Errorf("error is %q, which quotes the file", err)
	}
}

func expiredCA(t testing.TB) *sdktest.CA {
	return sdktest.NewCA(t, sdktest.CAOptions{Name: "old", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
}

func TestTrustRefuses(t *testing.T) {
	ca := sdktest.NewCA(t)
	leaf := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
	good := ca.PEM()
	der, err := x509.MarshalPKCS8PrivateKey(leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("anything")})
	}
	for name, c := range map[string]struct {
		data     []byte
		sentinel error
		words    []string
	}{
		"an empty file":               {nil, sdk.ErrMaterial, []string{"is empty", "want CA certificates"}},
		"white space only":            {[]byte(" \r\n\n"), sdk.ErrMaterial, []string{"is empty"}},
		"no PEM marker":               {[]byte("hello\n"), sdk.ErrMaterial, []string{"no PEM block", "want CA certificates"}},
		"PEM of another kind":         {block("CERTIFICATE REQUEST"), sdk.ErrMaterial, []string{`"CERTIFICATE REQUEST"`, "want CERTIFICATE"}},
		"another kind among them":     {append(bytes.Clone(good), block("PUBLIC KEY")...), sdk.ErrMaterial, []string{"block 2", `"PUBLIC KEY"`, "remove it"}},
		"OpenSSL's own form":          {block("TRUSTED CERTIFICATE"), sdk.ErrMaterial, []string{"openssl x509"}},
		"a certificate of garbage":    {block("CERTIFICATE"), sdk.ErrMaterial, []string{"block 1", "export it again"}},
		"a CRL of garbage":            {append(bytes.Clone(good), block("X509 CRL")...), sdk.ErrMaterial, []string{"block 2", "fetch it again"}},
		"a block without an end":      {good[:len(good)-30], sdk.ErrMaterial, []string{"block 1", "cut short", "renaming"}},
		"a block without its middle":  {append(bytes.Clone(good[:100]), good...), sdk.ErrMaterial, []string{"block 1", "cut short"}},
		"a second block cut short":    {append(bytes.Clone(good), good[:200]...), sdk.ErrMaterial, []string{"block 2", "cut short"}},
		"a second block barely begun": {append(bytes.Clone(good), "-----BEG"...), sdk.ErrMaterial, []string{"block 2", "cut short"}},
		"a block without a beginning": {good[40:], sdk.ErrMaterial, []string{"no PEM block"}},
		"two blocks on one line":      {append(bytes.TrimSpace(bytes.Clone(good)), good...), sdk.ErrMaterial, []string{"on one line", "line break between"}},
		"UTF-16":                      {append([]byte{0xff, 0xfe}, "-\x00-\x00"...), sdk.ErrMaterial, []string{"UTF-16", "UTF-8"}},
		"only expired CAs":            {expiredCA(t).PEM(), sdk.ErrExpired, []string{"none of its 1 CA certificates is valid today", "put current ones there"}},
		"only CAs of the future": {
			sdktest.NewCA(t, sdktest.CAOptions{NotBefore: time.Now().Add(time.Hour)}).PEM(),
			sdk.ErrMaterial,
			[]string{"is valid before", "clock"},
		},
		"only what a CA issued":    {leaf.CertPEM(), sdk.ErrMaterial, []string{"none of its certificates is a CA's", "put the certificate of the CA there"}},
		"a private key among them": {append(bytes.Clone(good), leaf.KeyPEM()...), sdk.ErrMaterial, []string{"holds a private key", "remove the key"}},
		"a private key in DER":     {der, sdk.ErrMaterial, []string{"holds a private key", "put certificates there"}},
		"DER cut short":            {ca.Certificate.Raw[:len(ca.Certificate.Raw)-9], sdk.ErrMaterial, []string{"is DER", "convert it to PEM"}},
		"only a CRL":               {sdktest.CRLPEM(ca.CRL(t, sdktest.CRLOptions{})), sdk.ErrMaterial, []string{"no CA certificate", "name it in CRLs"}},
		"10 MB of garbage":         {bytes.Repeat([]byte("garbage!"), 10<<17), sdk.ErrMaterial, []string{"more than 8 MiB", "right file"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "ca.pem", c.data)
			path := filepath.Join(dir, "ca.pem")
			_, err := (&file.Trust{Path: path, Settle: -1}).TrustBundle(t.Context())
			refused(t, err, c.sentinel, path, c.words...)
		})
	}
	t.Run("a missing file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ca.pem")
		_, err := (&file.Trust{Path: path}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrNotFound, path, "correct the path")
	})
	t.Run("a path through a file", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", good)
		path := filepath.Join(dir, "ca.pem", "root.pem")
		_, err := (&file.Trust{Path: path}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrNotFound, path, "correct the path")
	})
	t.Run("a link to itself", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ca.pem")
		link(t, path, path)
		_, err := (&file.Trust{Path: path}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrNotFound, path, "correct them")
	})
	t.Run("a CRL signed by another", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", good)
		write(t, dir, "ca.crl", sdktest.CRLPEM(sdktest.NewCA(t).CRL(t, sdktest.CRLOptions{})))
		path := filepath.Join(dir, "ca.crl")
		_, err := (&file.Trust{Path: filepath.Join(dir, "ca.pem"), CRLs: []string{path}, Settle: -1}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrMaterial, path, "not signed by that CA", "fetch it again")
	})
	t.Run("a certificate where a CRL should be", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", good)
		path := filepath.Join(dir, "ca.pem")
		_, err := (&file.Trust{Path: path, CRLs: []string{path}, Settle: -1}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrMaterial, path, "X509 CRL")
	})
	t.Run("one bad file in a folder", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "good.pem", good)
		write(t, dir, "bad.pem", good[:99])
		_, err := (&file.Trust{Path: dir, Settle: -1}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrMaterial, filepath.Join(dir, "bad.pem"), "cut short")
	})
	t.Run("a folder with nothing in it", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "README", []byte("nothing"))
		_, err := (&file.Trust{Path: dir}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrNotFound, dir, "no file for this")
	})
	t.Run("one of two paths without a CA", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", good)
		write(t, dir, "leaf.pem", leaf.CertPEM())
		path := filepath.Join(dir, "leaf.pem")
		_, err := (&file.Trust{Path: filepath.Join(dir, "ca.pem"), Paths: []string{path}, Settle: -1}).TrustBundle(t.Context())
		refused(t, err, sdk.ErrMaterial, path, "is a CA's")
	})
}

// A CRL that cannot be read must never look like one that revokes nothing.
func TestTrustDoesNotTakeUnreadableForNothingRevoked(t *testing.T) {
	ca := sdktest.NewCA(t)
	dir := t.TempDir()
	write(t, dir, "ca.pem", ca.PEM())
	crls := filepath.Join(dir, "crls")
	trust := &file.Trust{Path: filepath.Join(dir, "ca.pem"), CRLs: []string{crls}, Settle: -1}

	_, err := trust.TrustBundle(t.Context())
	refused(t, err, sdk.ErrNotFound, crls)

	if err := os.Mkdir(crls, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = trust.TrustBundle(t.Context())
	refused(t, err, sdk.ErrNotFound, crls, "no file for this", "remove the folder from the configuration")

	write(t, crls, "a.crl", []byte("garbage"))
	_, err = trust.TrustBundle(t.Context())
	refused(t, err, sdk.ErrMaterial, filepath.Join(crls, "a.crl"), "want revocation lists")

	write(t, crls, "a.crl", ca.CRL(t, sdktest.CRLOptions{}).Raw)
	if b := bundle(t, trust); len(b.CRLs) != 1 {
		t.Fatalf("%d CRLs, want 1", len(b.CRLs))
	}

	mustBeUnprivileged(t)
	for _, mode := range []os.FileMode{0, 0o100} { // neither listed nor entered; entered but not listed
		if err := os.Chmod(crls, mode); err != nil {
			t.Fatal(err)
		}
		_, err = trust.TrustBundle(t.Context())
		_ = os.Chmod(crls, 0o700)
		refused(t, err, sdk.ErrPermission, crls, "let the user of this process read it")
	}
}

// mustBeUnprivileged skips where permissions do not bind the process.
func mustBeUnprivileged(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("permissions do not bind this user")
	}
}

func bundle(t testing.TB, p sdk.TrustProvider) *sdk.TrustBundle {
	t.Helper()
	b, err := p.TrustBundle(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(b *sdk.TrustBundle) string {
	var all []string
	for _, c := range b.Roots {
		all = append(all, c.Subject.CommonName)
	}
	return fmt.Sprintf("%s; %d CRLs", strings.Join(all, " "), len(b.CRLs))
}

// paths are the fields of a Trust that name files.
type paths struct {
	Path  string
	Paths []string
	CRLs  []string
}

func TestTrustAccepts(t *testing.T) {
	a := sdktest.NewCA(t, sdktest.CAOptions{Name: "A"})
	b := sdktest.NewCA(t, sdktest.CAOptions{Name: "B"})
	crl := a.CRL(t, sdktest.CRLOptions{})
	both := append(a.PEM(), b.PEM()...)
	for name, c := range map[string]struct {
		files map[string][]byte // by path below the test's folder
		trust paths
		want  string
	}{
		"a file":                        {map[string][]byte{"ca.pem": both}, paths{Path: "ca.pem"}, "A B; 0 CRLs"},
		"several files":                 {map[string][]byte{"a": a.PEM(), "b": b.PEM()}, paths{Path: "a", Paths: []string{"b"}}, "A B; 0 CRLs"},
		"only Paths":                    {map[string][]byte{"a": a.PEM(), "b": b.PEM()}, paths{Paths: []string{"b", "a"}}, "B A; 0 CRLs"},
		"the same certificate twice":    {map[string][]byte{"a": append(both, both...)}, paths{Path: "a", Paths: []string{"a"}}, "A B; 0 CRLs"},
		"a byte order mark":             {map[string][]byte{"ca.pem": append([]byte("\xef\xbb\xbf"), both...)}, paths{Path: "ca.pem"}, "A B; 0 CRLs"},
		"files with byte order marks":   {map[string][]byte{"ca.pem": append(append([]byte("\xef\xbb\xbf"), a.PEM()...), append([]byte("\xef\xbb\xbf"), b.PEM()...)...)}, paths{Path: "ca.pem"}, "A B; 0 CRLs"},
		"CRLF":                          {map[string][]byte{"ca.pem": bytes.ReplaceAll(both, []byte("\n"), []byte("\r\n"))}, paths{Path: "ca.pem"}, "A B; 0 CRLs"},
		"text between the blocks":       {map[string][]byte{"ca.pem": bytes.Join([][]byte{[]byte("# A\nA\n=\n"), a.PEM(), []byte("\n# B - this\n"), b.PEM(), []byte("the end\n")}, nil)}, paths{Path: "ca.pem"}, "A B; 0 CRLs"},
		"DER":                           {map[string][]byte{"ca.cer": a.Certificate.Raw}, paths{Path: "ca.cer"}, "A; 0 CRLs"},
		"a leaf beside a CA":            {map[string][]byte{"ca.pem": append(a.Issue(t, sdktest.Leaf{}).CertPEM(), a.PEM()...)}, paths{Path: "ca.pem"}, "A; 0 CRLs"},
		"an expired CA beside a CA":     {map[string][]byte{"ca.pem": append(a.PEM(), expiredCA(t).PEM()...)}, paths{Path: "ca.pem"}, "A old; 0 CRLs"},
		"an intermediate as the anchor": {map[string][]byte{"ca.pem": a.Intermediate(t, sdktest.CAOptions{Name: "I"}).PEM()}, paths{Path: "ca.pem"}, "I; 0 CRLs"},
		"a CRL among the certificates":  {map[string][]byte{"ca.pem": append(a.PEM(), sdktest.CRLPEM(crl)...)}, paths{Path: "ca.pem"}, "A; 1 CRLs"},
		"a CRL in PEM":                  {map[string][]byte{"ca.pem": both, "a.crl": sdktest.CRLPEM(crl)}, paths{Path: "ca.pem", CRLs: []string{"a.crl"}}, "A B; 1 CRLs"},
		"a CRL in DER":                  {map[string][]byte{"ca.pem": both, "a.crl": crl.Raw}, paths{Path: "ca.pem", CRLs: []string{"a.crl"}}, "A B; 1 CRLs"},
		"a CRL of an intermediate": {
			map[string][]byte{"ca.pem": a.PEM(), "i.crl": a.Intermediate(t, sdktest.CAOptions{Name: "I"}).CRL(t, sdktest.CRLOptions{}).Raw},
			paths{Path: "ca.pem", CRLs: []string{"i.crl"}},
			"A; 1 CRLs",
		},
		"a folder of CRLs": {
			map[string][]byte{"ca.pem": both, "crls/a.crl": crl.Raw, "crls/b.pem": sdktest.CRLPEM(b.CRL(t, sdktest.CRLOptions{})), "crls/notes.txt": []byte("x")},
			paths{Path: "ca.pem", CRLs: []string{"crls"}},
			"A B; 2 CRLs",
		},
		"a folder": {map[string][]byte{
			"cas/a.pem": a.PEM(), "cas/b.CRT": b.PEM(), "cas/a.crl": crl.Raw, "cas/README": []byte("x"), "cas/.hidden.pem": []byte("x"), "cas/sub/c.pem": []byte("x"),
		}, paths{Path: "cas"}, "A B; 1 CRLs"},
		"a folder as OpenSSL hashes it": {map[string][]byte{"cas/0a1b2c3d.0": a.PEM(), "cas/0a1b2c3d.r0": sdktest.CRLPEM(crl)}, paths{Path: "cas"}, "A; 1 CRLs"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range c.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, dir, name, data)
			}
			trust := &file.Trust{Settle: -1}
			in := func(p string) string { return filepath.Join(dir, p) }
			if c.trust.Path != "" {
				trust.Path = in(c.trust.Path)
			}
			for _, p := range c.trust.Paths {
				trust.Paths = append(trust.Paths, in(p))
			}
			for _, p := range c.trust.CRLs {
				trust.CRLs = append(trust.CRLs, in(p))
			}
			if got := names(bundle(t, trust)); got != c.want {
				t.Errorf("bundle is %s, want %s", got, c.want)
			}
		})
	}
}

func TestTrustValidateNamesTheField(t *testing.T) {
	for field, p := range map[string]sdk.Validator{
		"Trust.Path":     &file.Trust{},
		"Trust.Paths[1]": &file.Trust{Paths: []string{"a", ""}},
		"Trust.CRLs[0]":  &file.Trust{Path: "a", CRLs: []string{""}},
		"Identity.Cert":  &file.Identity{Key: "k"},
		"Key.Path":       &file.Key{},
	} {
		t.Run(field, func(t *testing.T) {
			refused(t, p.Validate(), sdk.ErrConfig, field, "name a file")
			if c := (*sdk.ConfigError)(nil); !errors.As(p.Validate(), &c) || c.Field != field {
				t.Errorf("error is %v, want a ConfigError of %s", p.Validate(), field)
			}
		})
	}
}

// The named pipe has no writer: opening it must not wait for one.
func TestTrustDoesNotWaitForAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := mkfifo(path); err != nil {
		t.Skip(err)
	}
	_, err := (&file.Trust{Path: path}).TrustBundle(t.Context())
	refused(t, err, sdk.ErrMaterial, path, "no regular file")
}
