package file

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"

	"software.sslmate.com/src/go-pkcs12"
)

// isPKCS12 reports whether DER is a PFX (RFC 7292, section 4): version 3 and an authenticated safe.
func isPKCS12(der []byte) bool {
	var pfx struct {
		Version int
		Safe    struct {
			Type    asn1.ObjectIdentifier
			Content asn1.RawValue `asn1:"optional"`
		}
		MAC asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.Unmarshal(der, &pfx)
	return err == nil && pfx.Version == 3
}

// parsePKCS12 returns the key and all certificates, in no order. A file without a passphrase is tried with the
// empty one, as tools write it.
func parsePKCS12(der []byte, u *unlocker) (key crypto.Signer, certs []*x509.Certificate, err error) {
	if !boundedWork(der, 0) {
		return nil, nil, errTooMuch
	}
	pass, err := u.get()
	if err != nil && !errors.Is(err, errLocked) {
		return nil, nil, err
	}
	defer func() {
		// The parser trusts lengths inside the file more than it should.
		if recover() != nil {
			key, certs, err = nil, nil, errors.New("is PKCS #12 that does not parse; export it again")
		}
	}()
	raw, leaf, more, err := pkcs12.DecodeChain(der, string(pass))
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		if len(pass) == 0 {
			return nil, nil, errLocked
		}
		return nil, nil, errWrongPass
	case err != nil:
		return nil, nil, errors.New("is PKCS #12 that cannot be used; it must hold one certificate with its key, and what signed it: export it again")
	}
	key, err = signerOf(raw, nil)
	return key, append([]*x509.Certificate{leaf}, more...), err
}

// boundedWork looks for iteration counts: in each form of key derivation that PKCS #12 knows, an INTEGER that
// follows the OCTET STRING with the salt.
func boundedWork(der []byte, depth int) bool {
	if depth > 24 {
		return false
	}
	salt := false
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return true // not DER: nothing in here is interpreted
		}
		der = rest
		switch {
		case v.Class == asn1.ClassUniversal && v.Tag == asn1.TagInteger:
			if salt && new(big.Int).SetBytes(v.Bytes).Cmp(big.NewInt(maxIterations)) > 0 {
				return false
			}
			salt = false
		case v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOctetString:
			salt = true
			if !boundedWork(v.Bytes, depth+1) {
				return false
			}
		default:
			salt = false
			if v.IsCompound && !boundedWork(v.Bytes, depth+1) {
				return false
			}
		}
	}
	return true
}
