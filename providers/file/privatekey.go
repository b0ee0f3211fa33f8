package file

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// The parsers here return errors that say what was found and the cure, without path and without any byte of the file.

var (
	errNoKey    = errors.New("holds a private key that does not parse; export it again as PKCS #8")
	errKind     = errors.New("holds a key of a kind that cannot sign in TLS; want ECDSA, Ed25519 or RSA")
	errCipher   = errors.New("holds an OpenSSH key that is locked with a cipher that is not known here; change it with ssh-keygen -p -Z aes256-ctr -f FILE")
	errManyKeys = errors.New("holds more than one private key; leave one in it")
)

// keyFromPEM returns the one private key among the blocks; none is no error.
func keyFromPEM(all []*pem.Block, u *unlocker) (crypto.Signer, error) {
	var found *pem.Block
	for _, b := range all {
		if !isPrivateKeyType(b.Type) {
			continue
		}
		if found != nil {
			return nil, errManyKeys
		}
		found = b
	}
	if found == nil {
		return nil, nil
	}
	if found.Headers["DEK-Info"] != "" || found.Headers["Proc-Type"] != "" {
		return nil, errLegacyPEM
	}
	switch found.Type {
	case "PRIVATE KEY":
		return signerOf(x509.ParsePKCS8PrivateKey(found.Bytes))
	case "RSA PRIVATE KEY":
		return signerOf(x509.ParsePKCS1PrivateKey(found.Bytes))
	case "EC PRIVATE KEY":
		return signerOf(x509.ParseECPrivateKey(found.Bytes))
	case "ENCRYPTED PRIVATE KEY":
		pass, err := u.get()
		if err != nil {
			return nil, err
		}
		return unlockPKCS8(found.Bytes, pass)
	case "OPENSSH PRIVATE KEY":
		return openSSHKey(found, u)
	default:
		return nil, fmt.Errorf("holds a %s, which is not known here; convert it to PKCS #8", label(found.Type))
	}
}

// keyFromDER reads a key that is not in PEM.
func keyFromDER(der []byte, u *unlocker) (crypto.Signer, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return signerOf(k, nil)
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return signerOf(k, nil)
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return signerOf(k, nil)
	}
	if isEncryptedPKCS8(der) {
		pass, err := u.get()
		if err != nil {
			return nil, err
		}
		return unlockPKCS8(der, pass)
	}
	return nil, errors.New("holds no private key that is known here; want PKCS #8, PKCS #1 or SEC 1")
}

func unlockPKCS8(der, pass []byte) (crypto.Signer, error) {
	plain, err := decryptPKCS8(der, pass)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, errWrongPass // the padding came out right by chance
	}
	return signerOf(key, nil)
}

func openSSHKey(block *pem.Block, u *unlocker) (crypto.Signer, error) {
	if !knownCipher(block.Bytes) {
		return nil, errCipher
	}
	text := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
	key, err := ssh.ParseRawPrivateKey(text)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		pass, perr := u.get()
		if perr != nil {
			return nil, perr
		}
		key, err = ssh.ParseRawPrivateKeyWithPassphrase(text, pass)
		if errors.Is(err, x509.IncorrectPasswordError) {
			return nil, errWrongPass
		}
	}
	if err != nil {
		return nil, errors.New("holds an OpenSSH key that does not parse; make it again with ssh-keygen -t ed25519")
	}
	if k, ok := key.(*ed25519.PrivateKey); ok {
		return signerOf(*k, nil)
	}
	return signerOf(key, nil)
}

// knownCipher reports whether package ssh can unlock an OpenSSH key, whose cipher is the first string after the magic.
// What has no such string is for the parser.
func knownCipher(key []byte) bool {
	rest, ok := bytes.CutPrefix(key, []byte("openssh-key-v1\x00"))
	if !ok || len(rest) < 4 {
		return true
	}
	n := binary.BigEndian.Uint32(rest)
	if rest = rest[4:]; uint64(n) > uint64(len(rest)) {
		return true
	}
	switch string(rest[:n]) {
	case "none", "aes256-ctr", "aes256-cbc":
		return true
	}
	return false
}

// signerOf keeps the error of a parser out of the message: what it says of a key is nobody's business.
func signerOf(key any, err error) (crypto.Signer, error) {
	if err != nil {
		return nil, errNoKey
	}
	switch k := key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return k.(crypto.Signer), nil
	default:
		return nil, errKind
	}
}

func isEncryptedPKCS8(der []byte) bool {
	var outer struct {
		Algorithm struct {
			ID         asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Data []byte
	}
	rest, err := asn1.Unmarshal(der, &outer)
	return err == nil && len(rest) == 0
}

// holdsKey reports whether DER is a private key, locked or not.
func holdsKey(der []byte) bool {
	_, err := keyFromDER(der, &unlocker{})
	return err == nil || errors.Is(err, errLocked)
}

// describe names a key's kind for a message.
func describe(key crypto.Signer) string {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return "an ECDSA " + k.Curve.Params().Name + " key"
	case *rsa.PrivateKey:
		return fmt.Sprintf("an RSA key of %d bits", k.N.BitLen())
	case ed25519.PrivateKey:
		return "an Ed25519 key"
	default:
		return fmt.Sprintf("a %T", key)
	}
}
