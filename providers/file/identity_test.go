package file_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

const passphrase = "correct horse battery staple"

func given(pass string) file.Passphrase {
	return func(context.Context) ([]byte, error) { return []byte(pass), nil }
}

func TestIdentityRefuses(t *testing.T) {
	ca := sdktest.NewCA(t)
	id, other := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}}), ca.Issue(t, sdktest.Leaf{})
	with := func(l sdktest.Leaf) *sdktest.Issued { return ca.Issue(t, l) }
	expired := with(sdktest.Leaf{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	future := with(sdktest.Leaf{NotBefore: time.Now().Add(time.Hour)})
	server := with(sdktest.Leaf{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	locked := lock(t, id.Key, passphrase)
	p12, err := pkcs12.Modern.Encode(id.Key, id.Leaf, nil, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	legacy := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x"), Headers: map[string]string{
		"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00",
	}})
	pbes1 := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{0x30, 0x11, 0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x03, 0x04, 0x02, 0x01, 0x02}})
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")})
	for name, c := range map[string]struct {
		cert, key []byte // key nil: one file
		pass      file.Passphrase
		sentinel  error
		at        string // the file that is named
		words     []string
	}{
		"a certificate without a key":            {id.CertPEM(), nil, nil, sdk.ErrMaterial, "cert", []string{"no private key", "name the key's file in Key"}},
		"a key without a certificate":            {id.KeyPEM(), nil, nil, sdk.ErrMaterial, "cert", []string{"holds no certificate", "put the chain there"}},
		"a certificate where the key should be":  {id.CertPEM(), id.CertPEM(), nil, sdk.ErrMaterial, "key", []string{"holds a certificate and no private key"}},
		"certificate and key exchanged":          {id.KeyPEM(), id.CertPEM(), nil, sdk.ErrMaterial, "cert", []string{"exchange Cert and Key"}},
		"a key of another certificate":           {id.CertPEM(), other.KeyPEM(), nil, sdk.ErrMaterial, "cert", []string{"none of its certificates belongs", "replace the other too"}},
		"an expired certificate":                 {expired.CertPEM(), expired.KeyPEM(), nil, sdk.ErrExpired, "cert", []string{"expired at", "renew it"}},
		"a certificate of the future":            {future.CertPEM(), future.KeyPEM(), nil, sdk.ErrMaterial, "cert", []string{"not valid before", "clock"}},
		"a certificate without clientAuth":       {server.CertPEM(), server.KeyPEM(), nil, sdk.ErrMaterial, "cert", []string{"may not be used by a client", "clientAuth"}},
		"an empty certificate file":              {[]byte{}, id.KeyPEM(), nil, sdk.ErrMaterial, "cert", []string{"is empty"}},
		"an empty key file":                      {id.CertPEM(), []byte{}, nil, sdk.ErrMaterial, "key", []string{"is empty"}},
		"a request instead of a certificate":     {csr, id.KeyPEM(), nil, sdk.ErrMaterial, "cert", []string{`"CERTIFICATE REQUEST"`, "right file"}},
		"a certificate cut short":                {id.CertPEM()[:90], id.KeyPEM(), nil, sdk.ErrMaterial, "cert", []string{"cut short"}},
		"a key cut short":                        {id.CertPEM(), id.KeyPEM()[:90], nil, sdk.ErrMaterial, "key", []string{"cut short"}},
		"a key that does not parse":              {id.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), nil, sdk.ErrMaterial, "key", []string{"does not parse"}},
		"two keys":                               {id.CertPEM(), append(id.KeyPEM(), other.KeyPEM()...), nil, sdk.ErrMaterial, "key", []string{"more than one private key"}},
		"a kind of key that is unknown":          {id.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: "DSA PRIVATE KEY", Bytes: []byte("x")}), nil, sdk.ErrMaterial, "key", []string{`"DSA PRIVATE KEY"`}},
		"no passphrase for a locked key":         {id.CertPEM(), locked, nil, sdk.ErrMaterial, "key", []string{"is encrypted", "set Passphrase"}},
		"an empty passphrase for a locked key":   {id.CertPEM(), locked, given(""), sdk.ErrMaterial, "key", []string{"is encrypted", "set Passphrase"}},
		"a wrong passphrase for a key":           {id.CertPEM(), locked, given("wrong one"), sdk.ErrMaterial, "key", []string{"not opened by this passphrase"}},
		"no passphrase for PKCS #12":             {p12, nil, nil, sdk.ErrMaterial, "cert", []string{"is encrypted", "set Passphrase"}},
		"a wrong passphrase for PKCS #12":        {p12, nil, given("wrong one"), sdk.ErrMaterial, "cert", []string{"not opened by this passphrase"}},
		"PKCS #12 cut short":                     {p12[:len(p12)-9], nil, given(passphrase), sdk.ErrMaterial, "cert", []string{"want PKCS #8"}},
		"PEM encrypted in the old way":           {id.CertPEM(), legacy, given(passphrase), sdk.ErrMaterial, "key", []string{"openssl pkcs8 -topk8"}},
		"PKCS #8 encrypted in the old way":       {id.CertPEM(), pbes1, given(passphrase), sdk.ErrMaterial, "key", []string{"openssl pkcs8 -topk8"}},
		"a passphrase that nobody can look up":   {id.CertPEM(), locked, func(context.Context) ([]byte, error) { return nil, sdk.ErrUnavailable }, sdk.ErrUnavailable, "key", []string{"passphrase"}},
		"a passphrase that may not be looked up": {p12, nil, func(context.Context) ([]byte, error) { return nil, sdk.ErrPermission }, sdk.ErrPermission, "cert", []string{"passphrase"}},
		"10 MB of garbage instead of a key":      {id.CertPEM(), bytes.Repeat([]byte("garbage!"), 10<<17), nil, sdk.ErrMaterial, "key", []string{"more than 1 MiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := &file.Identity{Cert: filepath.Join(dir, "cert"), Passphrase: c.pass, Settle: -1}
			write(t, dir, "cert", c.cert)
			if c.key != nil {
				p.Key = filepath.Join(dir, "key")
				write(t, dir, "key", c.key)
			}
			_, err := p.Identity(t.Context())
			refused(t, err, c.sentinel, filepath.Join(dir, c.at), c.words...)
			for _, secret := range []string{passphrase, "wrong one", string(id.KeyPEM()[40:80])} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a secret: %q", err)
				}
			}
		})
	}
	t.Run("a missing certificate", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none")
		_, err := (&file.Identity{Cert: path}).Identity(t.Context())
		refused(t, err, sdk.ErrNotFound, path, "certificate", "correct the path")
	})
	t.Run("a missing key", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "cert", id.CertPEM())
		path := filepath.Join(dir, "none")
		_, err := (&file.Identity{Cert: filepath.Join(dir, "cert"), Key: path}).Identity(t.Context())
		refused(t, err, sdk.ErrNotFound, path, "private key", "correct the path")
	})
	t.Run("a folder", func(t *testing.T) {
		dir := t.TempDir()
		_, err := (&file.Identity{Cert: dir}).Identity(t.Context())
		refused(t, err, sdk.ErrMaterial, dir, "is a folder", "name a file in it")
	})
	t.Run("a key that may not be read", func(t *testing.T) {
		mustBeUnprivileged(t)
		dir := t.TempDir()
		write(t, dir, "cert", id.CertPEM())
		write(t, dir, "key", id.KeyPEM())
		path := filepath.Join(dir, "key")
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		_, err := (&file.Identity{Cert: filepath.Join(dir, "cert"), Key: path}).Identity(t.Context())
		refused(t, err, sdk.ErrPermission, path, "let the user of this process read it")
	})
}

func TestIdentityAccepts(t *testing.T) {
	root := sdktest.NewCA(t)
	one := root.Intermediate(t, sdktest.CAOptions{Name: "one"})
	two := one.Intermediate(t, sdktest.CAOptions{Name: "two"})
	id := two.Issue(t, sdktest.Leaf{CommonName: "leaf"})
	rsaID := two.Issue(t, sdktest.Leaf{CommonName: "leaf", Key: sdktest.RSA2048})
	edID := two.Issue(t, sdktest.Leaf{CommonName: "leaf", Key: sdktest.Ed25519Key})
	renewed := two.Issue(t, sdktest.Leaf{CommonName: "renewed", Signer: id.Key, NotAfter: time.Now().Add(100 * time.Hour)})
	sec1, err := x509.MarshalECPrivateKey(id.Key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sshBlock, err := ssh.MarshalPrivateKey(edID.Key, "comment")
	if err != nil {
		t.Fatal(err)
	}
	p12 := func(e *pkcs12.Encoder, pass string, chain ...*x509.Certificate) []byte {
		b, err := e.Encode(id.Key, id.Leaf, chain, pass)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	crlf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
	backwards := slices.Clone(id.Chain)
	slices.Reverse(backwards)
	stranger := sdktest.NewCA(t, sdktest.CAOptions{Name: "stranger"})
	const full = "leaf two one"
	for name, c := range map[string]struct {
		cert, key []byte
		pass      string
		want      string
	}{
		"two files":                        {id.CertPEM(), id.KeyPEM(), "", full},
		"one file":                         {join(id.CertPEM(), id.KeyPEM()), nil, "", full},
		"one file, the key first":          {join(id.KeyPEM(), id.CertPEM()), nil, "", full},
		"the chain backwards":              {sdktest.CertPEM(backwards...), id.KeyPEM(), "", full},
		"the chain mixed, with its root":   {sdktest.CertPEM(id.Chain[1], root.Certificate, id.Chain[0], id.Chain[2]), id.KeyPEM(), "", "leaf two one sdktest CA"},
		"a certificate twice":              {join(id.CertPEM(), id.CertPEM()), id.KeyPEM(), "", full},
		"a stranger among the chain":       {join(stranger.PEM(), id.CertPEM()), id.KeyPEM(), "", full},
		"a renewed leaf beside the old":    {join(id.CertPEM(), renewed.CertPEM()), id.KeyPEM(), "", "renewed two one"},
		"a byte order mark and CRLF":       {join([]byte("\xef\xbb\xbf"), crlf(id.CertPEM())), crlf(id.KeyPEM()), "", full},
		"text around the blocks":           {join([]byte("Bag Attributes\n  friendlyName: a\n"), id.CertPEM()), join([]byte("key\n"), id.KeyPEM(), []byte("end")), "", full},
		"PKCS #1":                          {rsaID.CertPEM(), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaID.Key.(*rsa.PrivateKey))), "", full},
		"SEC 1":                            {id.CertPEM(), block("EC PRIVATE KEY", sec1), "", full},
		"SEC 1 after its parameters":       {id.CertPEM(), join(block("EC PARAMETERS", []byte{6, 1, 1}), block("EC PRIVATE KEY", sec1)), "", full},
		"OpenSSH":                          {edID.CertPEM(), pem.EncodeToMemory(sshBlock), "", full},
		"encrypted PKCS #8":                {id.CertPEM(), lock(t, id.Key, passphrase), passphrase, full},
		"encrypted PKCS #8 in one file":    {join(id.CertPEM(), lock(t, id.Key, passphrase)), nil, passphrase, full},
		"SEC 1 in DER":                     {id.CertPEM(), sec1, "", full},
		"a certificate in DER":             {id.Leaf.Raw, id.KeyPEM(), "", "leaf"},
		"PKCS #12":                         {p12(pkcs12.Modern, passphrase, id.Chain[1:]...), nil, passphrase, full},
		"PKCS #12 with the chain mixed":    {p12(pkcs12.Modern, passphrase, id.Chain[2], id.Chain[1]), nil, passphrase, full},
		"PKCS #12 with PBMAC1":             {p12(pkcs12.Modern2026, passphrase), nil, passphrase, "leaf"},
		"PKCS #12 of the old kind":         {p12(pkcs12.LegacyDES, passphrase), nil, passphrase, "leaf"},
		"PKCS #12 with no passphrase":      {p12(pkcs12.Modern, "", id.Chain[1:]...), nil, "", full},
		"PKCS #12 without any encryption":  {p12(pkcs12.Passwordless, ""), nil, "", "leaf"},
		"a passphrase that is not needed":  {id.CertPEM(), id.KeyPEM(), passphrase, full},
		"a key beside the certificate too": {join(id.CertPEM(), edID.KeyPEM()), id.KeyPEM(), "", full},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := &file.Identity{Cert: filepath.Join(dir, "cert"), Settle: -1, Strict: true}
			if c.pass != "" {
				p.Passphrase = given(c.pass)
			}
			write(t, dir, "cert", c.cert)
			if c.key != nil {
				p.Key = filepath.Join(dir, "key")
				write(t, dir, "key", c.key)
			}
			got, err := p.Identity(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var chain []string
			for _, der := range got.Certificate.Certificate {
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					t.Fatal(err)
				}
				chain = append(chain, cert.Subject.CommonName)
			}
			if s := strings.Join(chain, " "); s != c.want {
				t.Errorf("chain is %q, want %q", s, c.want)
			}
			if got.Certificate.Leaf == nil || !bytes.Equal(got.Certificate.Leaf.Raw, got.Certificate.Certificate[0]) {
				t.Error("Leaf is not the first certificate")
			}
		})
	}
}

// The files of OpenSSL itself, as an administrator makes them.
func TestIdentityReadsWhatOpenSSLWrites(t *testing.T) {
	for _, name := range []string{"pbes2-aes256-sha256.pem", "pbes2-aes128-sha512.pem", "pbes2-3des-sha1.pem", "pbes2-scrypt.pem"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			write(t, dir, "key", data)
			k := &file.Key{Path: filepath.Join(dir, "key"), Passphrase: given(passphrase), Settle: -1}
			if _, err := k.SigningKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			k.Passphrase = given("wrong one")
			write(t, dir, "key", append(data, '\n')) // not what is remembered
			_, err = k.SigningKeys(t.Context())
			refused(t, err, sdk.ErrMaterial, k.Path, "not opened by this passphrase")
		})
	}
}

func TestLoosePermissionsAreReported(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the mode says nothing here")
	}
	id := sdktest.NewCA(t).Issue(t, sdktest.Leaf{})
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "cert", id.CertPEM())
			write(t, dir, "key", id.KeyPEM())
			write(t, dir, "signing", sdktest.KeyPEM(t, sdktest.Ed25519(t)))
			for _, name := range []string{"key", "signing"} {
				if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			logger := hclog.New(&hclog.LoggerOptions{Output: &log})
			cert, key, signing := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "signing")

			identity := &file.Identity{Cert: cert, Key: key, Logger: logger, Settle: -1}
			keys := &file.Key{Path: signing, Logger: logger, Settle: -1}
			for range 3 { // one warning each: the files do not change
				if _, err := identity.Identity(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := keys.SigningKeys(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for _, path := range []string{key, signing} {
				if n := strings.Count(log.String(), "path="+path); n != 1 {
					t.Errorf("%d warnings about %s, want 1; log:\n%s", n, path, log.String())
				}
			}
			if !strings.Contains(log.String(), "chmod 600") {
				t.Errorf("the warning names no cure:\n%s", log.String())
			}

			_, err := (&file.Identity{Cert: cert, Key: key, Strict: true, Settle: -1}).Identity(t.Context())
			refused(t, err, sdk.ErrPermission, key, "chmod 600", "mode 06")
			_, err = (&file.Key{Path: signing, Strict: true, Settle: -1}).SigningKeys(t.Context())
			refused(t, err, sdk.ErrPermission, signing, "chmod 600", "mode 06")

			// The mode is looked at even when the bytes are as before.
			strict := &file.Key{Path: signing, Strict: true, Settle: -1}
			if err := os.Chmod(signing, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := strict.SigningKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(signing, mode); err != nil {
				t.Fatal(err)
			}
			_, err = strict.SigningKeys(t.Context())
			refused(t, err, sdk.ErrPermission, signing)
		})
	}
}

// A passphrase is asked for once per content, and an expired identity is noticed though its files do not change.
func TestPassphraseIsAskedForOncePerContent(t *testing.T) {
	id := sdktest.NewCA(t).Issue(t, sdktest.Leaf{})
	dir := t.TempDir()
	write(t, dir, "cert", append(id.CertPEM(), lock(t, id.Key, passphrase)...))
	asked := 0
	p := &file.Identity{Cert: filepath.Join(dir, "cert"), Settle: -1, Passphrase: func(context.Context) ([]byte, error) {
		asked++
		return []byte(passphrase), nil
	}}
	for range 3 {
		if _, err := p.Identity(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for an unchanged file, want once", asked)
	}
	replace(t, dir, "cert", append(id.CertPEM(), lock(t, id.Key, passphrase)...))
	if _, err := p.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if asked != 2 {
		t.Errorf("asked %d times for two contents, want twice", asked)
	}
}

// A passphrase that takes for ever is bounded by the context, for the caller that asks and for one that waits its turn.
func TestContextBoundsThePassphrase(t *testing.T) {
	id := sdktest.NewCA(t).Issue(t, sdktest.Leaf{})
	dir := t.TempDir()
	write(t, dir, "cert", append(id.CertPEM(), lock(t, id.Key, passphrase)...))
	asking := make(chan struct{})
	p := &file.Identity{Cert: filepath.Join(dir, "cert"), Settle: -1, Passphrase: func(ctx context.Context) ([]byte, error) {
		close(asking)
		<-ctx.Done()
		return nil, errors.New("no passphrase")
	}}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { _, err := p.Identity(ctx); first <- err }()
	<-asking
	waiting, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := p.Identity(waiting); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second caller got %v, want its deadline", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first caller got %v, want its cancellation", err)
	}
}
