package signer

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"testing"
)

// The key of RFC 9421 appendix B.1.4.
const rfcKey = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
`

func rfcPrivateKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	block, _ := pem.Decode([]byte(rfcKey))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(ed25519.PrivateKey)
}

func TestBaseAndSignatureReproduceRFC9421Example(t *testing.T) {
	// Appendix B.2.6
	const (
		params = `("date" "@method" "@path" "@authority" "content-type" "content-length")` +
			`;created=1618884473;keyid="test-key-ed25519"`
		wantBase = `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ` + params
		wantSig = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
	)
	path, query, ok := splitTarget("/foo?param=Value&Pet=dog")
	if !ok || query != "?param=Value&Pet=dog" {
		t.Fatalf("target: %q %q %v", path, query, ok)
	}
	authority, ok := canonicalAuthority("example.com", "https")
	if !ok {
		t.Fatal("authority")
	}
	var base []byte
	for _, line := range [][2]string{
		{`"date": `, "Tue, 20 Apr 2021 02:07:55 GMT"},
		{`"@method": `, "POST"},
		{`"@path": `, path},
		{`"@authority": `, authority},
		{`"content-type": `, "application/json"},
		{`"content-length": `, "18"},
	} {
		base = appendLine(base, line[0], line[1])
	}
	base = appendParams(base, params)
	if string(base) != wantBase {
		t.Errorf("base:\n%s\nwant:\n%s", base, wantBase)
	}
	sig, err := privateKeyOf(t, rfcPrivateKey(t)).Sign(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	if got := base64.StdEncoding.EncodeToString(sig); got != wantSig {
		t.Errorf("signature %s, want %s", got, wantSig)
	}
	if !holds(rfcPrivateKey(t).Public().(ed25519.PublicKey), base, sig) {
		t.Error("the signature does not hold")
	}
}

func privateKeyOf(t testing.TB, p ed25519.PrivateKey) Key {
	t.Helper()
	k, err := KeyOf(p)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestContentDigestMatchesRFC9530(t *testing.T) {
	// Appendix B.1
	got := contentDigest(sha256.Sum256([]byte("{\"hello\": \"world\"}\n")))
	if want := "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
