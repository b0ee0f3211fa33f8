package file

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"testing"
	"time"
)

func der(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func algorithm(t testing.TB, oid asn1.ObjectIdentifier, params any) pkix.AlgorithmIdentifier {
	t.Helper()
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: der(t, params)}}
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
}

type scryptParams struct {
	Salt    []byte
	N, R, P int
}

// A file can ask for more work to derive its key than anyone would wait for. It must be refused before the work.
func TestWorkIsBounded(t *testing.T) {
	salt := make([]byte, 8)
	aes := algorithm(t, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, make([]byte, 16))
	for name, c := range map[string]struct {
		kdf  pkix.AlgorithmIdentifier
		want error
	}{
		"PBKDF2 for years":           {algorithm(t, oidPBKDF2, pbkdf2Params{salt, 1 << 31}), errTooMuch},
		"PBKDF2 never":               {algorithm(t, oidPBKDF2, pbkdf2Params{salt, 0}), errEncryption},
		"PBKDF2 backwards":           {algorithm(t, oidPBKDF2, pbkdf2Params{salt, -1}), errEncryption},
		"scrypt with much memory":    {algorithm(t, oidScrypt, scryptParams{salt, 1 << 30, 8, 1}), errTooMuch},
		"scrypt with large blocks":   {algorithm(t, oidScrypt, scryptParams{salt, 2, 1 << 30, 1}), errTooMuch},
		"scrypt many times":          {algorithm(t, oidScrypt, scryptParams{salt, 1 << 14, 8, 1 << 20}), errTooMuch},
		"scrypt with N no power":     {algorithm(t, oidScrypt, scryptParams{salt, 1000, 8, 1}), errEncryption},
		"scrypt with N = 0":          {algorithm(t, oidScrypt, scryptParams{salt, 0, 8, 1}), errEncryption},
		"a key derivation not known": {algorithm(t, asn1.ObjectIdentifier{1, 2, 3}, pbkdf2Params{salt, 1}), errEncryption},
	} {
		t.Run(name, func(t *testing.T) {
			params := struct{ KDF, Cipher pkix.AlgorithmIdentifier }{c.kdf, aes}
			data := der(t, struct {
				Algorithm pkix.AlgorithmIdentifier
				Data      []byte
			}{algorithm(t, oidPBES2, params), make([]byte, 32)})
			start := time.Now()
			if _, err := decryptPKCS8(data, []byte("x")); !errors.Is(err, c.want) {
				t.Errorf("after %v: error is %v, want %v", time.Since(start), err, c.want)
			}
		})
	}
	type mac struct {
		Digest     []byte
		Salt       []byte
		Iterations int
	}
	type pfx struct {
		Version int
		Safe    []byte
		MAC     mac
	}
	for name, c := range map[string]struct {
		file pfx
		want bool
	}{
		"a usual PKCS #12":           {pfx{3, der(t, pbkdf2Params{salt, 2048}), mac{salt, salt, 2048}}, true},
		"a MAC for years":            {pfx{3, nil, mac{salt, salt, 1 << 31}}, false},
		"an encryption for years":    {pfx{3, der(t, pbkdf2Params{salt, 1 << 31}), mac{salt, salt, 2048}}, false},
		"a MAC with a negative work": {pfx{3, nil, mac{salt, salt, -1 << 40}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := boundedWork(der(t, c.file), 0); got != c.want {
				t.Errorf("bounded: %v, want %v", got, c.want)
			}
		})
	}
	t.Run("nested without an end", func(t *testing.T) {
		data := der(t, 1)
		for range 40 {
			data = der(t, []asn1.RawValue{{FullBytes: data}})
		}
		if boundedWork(data, 0) {
			t.Error("40 levels pass, want them refused")
		}
	})
}
