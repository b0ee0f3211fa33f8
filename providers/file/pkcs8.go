package file

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:staticcheck // 3DES is what older tools wrote
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509/pkix"
	"encoding/asn1"
	"hash"

	"golang.org/x/crypto/scrypt"
)

// Encrypted PKCS #8: EncryptedPrivateKeyInfo (RFC 5958, section 3) under PBES2 (RFC 8018, section 6.2) with PBKDF2
// or scrypt (RFC 7914, section 7).

const (
	maxIterations = 10_000_000 // some seconds
	maxScryptMem  = 256 << 20
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
)

var prfs = map[string]func() hash.Hash{
	"":                    sha1.New, // the default of RFC 8018
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
	"1.2.840.113549.2.12": sha512.New512_224,
	"1.2.840.113549.2.13": sha512.New512_256,
}

type blockCipher struct {
	keyLen int
	make   func([]byte) (cipher.Block, error)
}

var cbcCiphers = map[string]blockCipher{
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
}

// decryptPKCS8 returns the PrivateKeyInfo inside.
func decryptPKCS8(der, pass []byte) ([]byte, error) {
	var outer struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, errNoKey
	}
	if !outer.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, errEncryption
	}
	var params struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if _, err := asn1.Unmarshal(outer.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, errEncryption
	}
	method, ok := cbcCiphers[params.Cipher.Algorithm.String()]
	if !ok {
		return nil, errEncryption
	}
	key, err := deriveKey(params.KDF, pass, method.keyLen)
	if err != nil {
		return nil, err
	}
	block, err := method.make(key)
	if err != nil {
		return nil, errEncryption
	}
	var iv []byte
	if _, err := asn1.Unmarshal(params.Cipher.Parameters.FullBytes, &iv); err != nil || len(iv) != block.BlockSize() {
		return nil, errEncryption
	}
	if len(outer.Data) == 0 || len(outer.Data)%block.BlockSize() != 0 {
		return nil, errWrongPass
	}
	plain := make([]byte, len(outer.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, outer.Data)
	return unpad(plain, block.BlockSize())
}

// unpad takes PKCS #7 padding off.
func unpad(plain []byte, size int) ([]byte, error) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > size || n > len(plain) {
		return nil, errWrongPass
	}
	good := 1
	for _, b := range plain[len(plain)-n:] {
		good &= subtle.ConstantTimeByteEq(b, byte(n))
	}
	if good == 0 {
		return nil, errWrongPass
	}
	return plain[:len(plain)-n], nil
}

func deriveKey(kdf pkix.AlgorithmIdentifier, pass []byte, keyLen int) ([]byte, error) {
	switch {
	case kdf.Algorithm.Equal(oidPBKDF2):
		var p struct {
			Salt       []byte
			Iterations int
			KeyLength  int                      `asn1:"optional"`
			PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil {
			return nil, errEncryption
		}
		prf, ok := prfs[p.PRF.Algorithm.String()]
		if !ok || p.Iterations < 1 || p.KeyLength != 0 && p.KeyLength != keyLen {
			return nil, errEncryption
		}
		if p.Iterations > maxIterations {
			return nil, errTooMuch
		}
		key, err := pbkdf2.Key(prf, string(pass), p.Salt, p.Iterations, keyLen)
		if err != nil {
			return nil, errEncryption
		}
		return key, nil
	case kdf.Algorithm.Equal(oidScrypt):
		var p struct {
			Salt      []byte
			N, R, P   int
			KeyLength int `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.N < 2 || p.R < 1 || p.P < 1 {
			return nil, errEncryption
		}
		if p.N > maxScryptMem/128 || p.R > maxScryptMem/128/p.N || p.P > 16 {
			return nil, errTooMuch
		}
		key, err := scrypt.Key(pass, p.Salt, p.N, p.R, p.P, keyLen)
		if err != nil {
			return nil, errEncryption
		}
		return key, nil
	}
	return nil, errEncryption
}
