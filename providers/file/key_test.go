package file_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestKeyAccepts(t *testing.T) {
	key := sdktest.Ed25519(t)
	seed := key.Seed()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	openssh, err := ssh.MarshalPrivateKey(key, "node@a.example")
	if err != nil {
		t.Fatal(err)
	}
	// RFC 5958 (version 2) lets the public key follow the private one.
	type algorithm struct{ OID asn1.ObjectIdentifier }
	v2, err := asn1.Marshal(struct {
		Version   int
		Algorithm algorithm
		Key       []byte
		Public    asn1.BitString `asn1:"tag:1"`
	}{1, algorithm{asn1.ObjectIdentifier{1, 3, 101, 112}}, append([]byte{4, 32}, seed...), asn1.BitString{Bytes: key[32:], BitLength: 256}})
	if err != nil {
		t.Fatal(err)
	}
	std := base64.StdEncoding.EncodeToString
	derLike := append([]byte{0x30, 30, 0xff}, make([]byte, 29)...)
	for name, c := range map[string]struct {
		data []byte
		pass file.Passphrase
	}{
		"PKCS #8":                            {sdktest.KeyPEM(t, key), nil},
		"PKCS #8 in DER":                     {pkcs8, nil},
		"PKCS #8 with the public key":        {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: v2}), nil},
		"PKCS #8 with CRLF":                  {bytes.ReplaceAll(sdktest.KeyPEM(t, key), []byte("\n"), []byte("\r\n")), nil},
		"encrypted PKCS #8":                  {lock(t, key, passphrase), given(passphrase)},
		"OpenSSH":                            {pem.EncodeToMemory(openssh), nil},
		"a seed in base64":                   {[]byte(std(seed)), nil},
		"a seed in base64 with a line break": {[]byte(std(seed) + "\r\n"), nil},
		"a seed in base64 without padding":   {[]byte(base64.RawStdEncoding.EncodeToString(seed) + "\n"), nil},
		"a seed in base64url":                {[]byte(base64.URLEncoding.EncodeToString(seed)), nil},
		"a seed in base64url, no padding":    {[]byte(base64.RawURLEncoding.EncodeToString(seed)), nil},
		"a key in base64":                    {[]byte(std(key)), nil},
		"a key in base64, two lines":         {[]byte(std(key)[:64] + "\n" + std(key)[64:] + "\n"), nil},
		"a seed, raw":                        {seed, nil},
		"a key, raw":                         {key, nil},
		"a seed, raw, that starts like DER":  {derLike, nil},
		"a byte order mark before base64":    {[]byte("\xef\xbb\xbf" + std(seed)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "key", c.data)
			k := &file.Key{Path: filepath.Join(dir, "key"), Passphrase: c.pass, Strict: true, Settle: -1}
			set, err := k.SigningKeys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(c.data, derLike) {
				return
			}
			if !key.Public().(ed25519.PublicKey).Equal(set.Active.Public()) {
				t.Error("another key than the one in the file")
			}
		})
	}
}

// lockedOpenSSH is what ssh-keygen -a 1 wrote, and its public key.
func lockedOpenSSH(t *testing.T) (private []byte, public ed25519.PublicKey) {
	t.Helper()
	private, err := os.ReadFile(filepath.Join("testdata", "openssh-locked.pem"))
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(filepath.Join("testdata", "openssh-locked.pub"))
	if err != nil {
		t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		t.Fatal(err)
	}
	return private, pub.(ssh.CryptoPublicKey).CryptoPublicKey().(ed25519.PublicKey)
}

func TestKeyReadsWhatSSHKeygenLocks(t *testing.T) {
	private, public := lockedOpenSSH(t)
	dir := t.TempDir()
	write(t, dir, "key", private)
	k := &file.Key{Path: filepath.Join(dir, "key"), Passphrase: given(passphrase), Settle: -1}
	set, err := k.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !public.Equal(set.Active.Public()) {
		t.Error("another key than the one in the file")
	}
}

func TestKeyRefuses(t *testing.T) {
	key := sdktest.Ed25519(t)
	std := base64.StdEncoding.EncodeToString
	ecdsa := sdktest.NewKey(t, sdktest.ECDSAP256)
	rsa := sdktest.NewKey(t, sdktest.RSA2048)
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	halves := bytes.Clone(key)
	halves[63] ^= 1
	openssh, _ := lockedOpenSSH(t)
	dh, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := x509.MarshalPKCS8PrivateKey(dh)
	if err != nil {
		t.Fatal(err)
	}
	gcm := pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("openssh-key-v1\x00\x00\x00\x00\x16aes256-gcm@openssh.com\x00")})
	damaged := pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("openssh-key-v1\x00")})
	for name, c := range map[string]struct {
		data  []byte
		pass  file.Passphrase
		words []string
	}{
		"an empty file":                      {nil, nil, []string{"is empty"}},
		"an ECDSA key":                       {sdktest.KeyPEM(t, ecdsa), nil, []string{"an ECDSA P-256 key, want Ed25519", "openssl genpkey"}},
		"an RSA key":                         {sdktest.KeyPEM(t, rsa), nil, []string{"an RSA key of 2048 bits, want Ed25519"}},
		"a certificate":                      {sdktest.NewCA(t).PEM(), nil, []string{`"CERTIFICATE"`, "right file"}},
		"the public half of OpenSSH":         {ssh.MarshalAuthorizedKey(public), nil, []string{".pub"}},
		"a seed that is too short":           {[]byte(std(key[:31])), nil, []string{"base64 of 31 bytes", "32-byte seed"}},
		"a seed that is too long":            {[]byte(std(key[:33])), nil, []string{"base64 of 33 bytes"}},
		"raw bytes that are too few":         {append([]byte{0xff}, key[:20]...), nil, []string{"21 bytes", "32 or 64"}},
		"a raw seed with a line break":       {append(append([]byte{0xff}, key[1:32]...), '\n'), nil, []string{"33 bytes"}},
		"two halves that do not belong":      {halves, nil, []string{"not the public key of the first"}},
		"two halves in base64":               {[]byte(std(halves)), nil, []string{"not the public key of the first"}},
		"a seed in hexadecimal":              {[]byte(hex.EncodeToString(key.Seed()) + "\n"), nil, []string{"hexadecimal", "base64"}},
		"a password of 32 characters":        {[]byte("correct-horse-battery-staple-123"), nil, []string{"want the 32-byte seed"}},
		"a password of 32 other characters":  {[]byte("correct horse, battery: staple!!"), nil, []string{"is text, but no key"}},
		"PEM cut short":                      {sdktest.KeyPEM(t, key)[:70], nil, []string{"cut short"}},
		"OpenSSH cut short":                  {damaged, nil, []string{"does not parse", "ssh-keygen"}},
		"no passphrase for OpenSSH":          {openssh, nil, []string{"is encrypted", "set Passphrase"}},
		"a wrong passphrase for OpenSSH":     {openssh, given("wrong one"), []string{"not opened by this passphrase"}},
		"a wrong passphrase for PKCS #8":     {lock(t, key, passphrase), given("wrong one"), []string{"not opened by this passphrase"}},
		"an encrypted key that is not one":   {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), given(passphrase), []string{"does not parse"}},
		"a key of another kind":              {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: x25519}), nil, []string{"want Ed25519", "openssl genpkey"}},
		"OpenSSH with a cipher of its own":   {gcm, given(passphrase), []string{"cipher", "ssh-keygen -p -Z aes256-ctr"}},
		"a seed of zeros":                    {make([]byte, 32), nil, []string{"zeros", "restore it"}},
		"a seed of zeros in base64":          {[]byte(std(make([]byte, 32))), nil, []string{"zeros"}},
		"a key locked with no Ed25519 in it": {lock(t, ecdsa, passphrase), given(passphrase), []string{"want Ed25519"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "key")
			write(t, dir, "key", c.data)
			_, err := (&file.Key{Path: path, Passphrase: c.pass, Settle: -1}).SigningKeys(t.Context())
			refused(t, err, sdk.ErrMaterial, path, c.words...)
			for _, secret := range []string{passphrase, "wrong one", "battery", std(key)[:30], hex.EncodeToString(key)[:30]} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a secret: %q", err)
				}
			}
		})
	}
	t.Run("a missing file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key")
		_, err := (&file.Key{Path: path}).SigningKeys(t.Context())
		refused(t, err, sdk.ErrNotFound, path, "correct the path")
	})
}

func TestPassphraseFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passphrase")
	for text, want := range map[string]string{"a b\n": "a b", "a b\r\n": "a b", "a b": "a b", " a\n\n": " a\n"} {
		write(t, dir, "passphrase", []byte(text))
		if got, err := file.PassphraseFile(path)(t.Context()); err != nil || string(got) != want {
			t.Errorf("a file of %q gives %q, %v, want %q", text, got, err, want)
		}
	}
	write(t, dir, "passphrase", []byte("\n"))
	_, err := file.PassphraseFile(path)(t.Context())
	refused(t, err, sdk.ErrMaterial, path, "is empty")
	_, err = file.PassphraseFile(path + "x")(t.Context())
	refused(t, err, sdk.ErrNotFound, path+"x", "passphrase file")
	_, err = file.PassphraseFile("")(t.Context())
	refused(t, err, sdk.ErrConfig, "PassphraseFile", "name a file")
}
