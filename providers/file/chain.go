package file

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// order finds the leaf that belongs to key and puts what signed it behind it. It returns a nil chain if no
// certificate belongs to the key, and the certificates that are not part of the chain.
func order(certs []*x509.Certificate, key crypto.Signer) (chain, left []*x509.Certificate) {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, certs
	}
	var rest []*x509.Certificate
	var leaf *x509.Certificate
	for _, c := range certs {
		switch {
		case leaf != nil && c.Equal(leaf):
		case !pub.Equal(c.PublicKey):
			rest = append(rest, c)
		case leaf == nil:
			leaf = c
		case c.NotAfter.After(leaf.NotAfter): // renewed with the same key: the newer one
			leaf, rest = c, append(rest, leaf)
		default:
			rest = append(rest, c)
		}
	}
	if leaf == nil {
		return nil, certs
	}
	chain = []*x509.Certificate{leaf}
	for at := leaf; !selfIssued(at); {
		next := issuer(at, rest)
		if next < 0 {
			break
		}
		at = rest[next]
		chain = append(chain, at)
		rest = append(rest[:next:next], rest[next+1:]...)
	}
	for _, c := range rest {
		if !contains(chain, c) && !contains(left, c) {
			left = append(left, c)
		}
	}
	return chain, left
}

// issuer returns the index of the certificate that signed c, of several the one that is valid longest; -1: none.
func issuer(c *x509.Certificate, among []*x509.Certificate) int {
	best := -1
	for i, by := range among {
		if !bytes.Equal(c.RawIssuer, by.RawSubject) || c.CheckSignatureFrom(by) != nil {
			continue
		}
		if best < 0 || by.NotAfter.After(among[best].NotAfter) {
			best = i
		}
	}
	return best
}

func selfIssued(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}

func contains(all []*x509.Certificate, c *x509.Certificate) bool {
	for _, have := range all {
		if have.Equal(c) {
			return true
		}
	}
	return false
}

func certificateError(block int, err error) error {
	return fmt.Errorf("certificate in PEM block %d: %w; export it again", block+1, err)
}

func unknownKinds(all []*pem.Block) error {
	if len(all) == 0 {
		return errors.New("holds no whole PEM block; write it again")
	}
	return fmt.Errorf("holds neither a certificate nor a private key, but %s; name the right file", kinds(all))
}

// badPassphrase reports that the callback failed. The error keeps the callback's meaning.
func badPassphrase(b blob, err error) error {
	return fmt.Errorf("file: %s %s: %w", b.kind, b.path, err)
}
