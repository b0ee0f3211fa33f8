package file

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

var (
	errHex      = errors.New("looks like hexadecimal; write the 32-byte seed in base64")
	errHalves   = errors.New("is 64 bytes of which the second half is not the public key of the first; write the 32-byte seed, or seed and public key")
	errZeros    = errors.New("is nothing but zeros, as a disk that failed or filled up leaves a file; restore it, or make a key with openssl genpkey -algorithm ed25519")
	errPubOnly  = errors.New("is an OpenSSH public key; name the file of the private key, which has no .pub at its end")
	errRawText  = errors.New("is text, but no key in PEM, OpenSSH or base64; make one with openssl genpkey -algorithm ed25519")
	errRawBytes = "is %d bytes of no form that is known here; want PEM, OpenSSH, or 32 or 64 bytes, raw or in base64"
)

// rawKey reads a seed of 32 bytes or a private key of 64, in base64 of either alphabet with or without padding, or
// as they are. Raw bytes that could be text are refused: 32 printable characters are a password, not a seed.
func rawKey(data []byte) (ed25519.PrivateKey, error) {
	if !isText(data) {
		return rawBytes(data)
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(data, bomUTF8))
	switch {
	case len(text) == 0:
		return nil, errNothing
	case bytes.HasPrefix(text, []byte("ssh-")) || bytes.HasPrefix(text, []byte("ecdsa-")) || bytes.HasPrefix(text, []byte("sk-")):
		return nil, errPubOnly
	case isHex(text):
		return nil, errHex
	}
	text = bytes.Join(bytes.Fields(text), nil) // base64 may be wrapped
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		raw := make([]byte, e.DecodedLen(len(text)))
		if n, err := e.Strict().Decode(raw, text); err == nil {
			if n != ed25519.SeedSize && n != ed25519.PrivateKeySize {
				return nil, fmt.Errorf("is base64 of %d bytes, want the 32-byte seed or the 64-byte private key", n)
			}
			return rawBytes(raw[:n])
		}
	}
	return nil, errRawText
}

func rawBytes(raw []byte) (ed25519.PrivateKey, error) {
	if len(bytes.Trim(raw, "\x00")) == 0 {
		return nil, errZeros
	}
	switch len(raw) {
	case ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(raw), nil
	case ed25519.PrivateKeySize:
		key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
		if !bytes.Equal(key, raw) {
			return nil, errHalves
		}
		return key, nil
	default:
		return nil, fmt.Errorf(errRawBytes, len(raw))
	}
}

func isText(data []byte) bool {
	for _, b := range bytes.TrimPrefix(data, bomUTF8) {
		if (b < 0x20 || b > 0x7e) && b != '\n' && b != '\r' && b != '\t' {
			return false
		}
	}
	return true
}

// isHex reports whether text is a key in hexadecimal, which base64 could be mistaken for.
func isHex(text []byte) bool {
	_, err := hex.DecodeString(string(text))
	return err == nil && (len(text) == 2*ed25519.SeedSize || len(text) == 2*ed25519.PrivateKeySize)
}
