package stepca

import (
	"context"
	"crypto"
	"crypto/x509"
	"time"
)

// An Enrolment is how the CA learns that this node may have a certificate: OneTimeToken, TokenFunc, JWK, X5C or ACME.
type Enrolment interface {
	// enrol has the CA sign a certificate for the key of r. The chain is leaf first and unchecked.
	enrol(ctx context.Context, c *Client, r request) ([]*x509.Certificate, error)
	// validate reports every problem of the configuration.
	validate(names []string) error
	// repeatable reports whether enrolling again can work without anybody's help.
	repeatable() bool
}

// A request is what a certificate is wanted for.
type request struct {
	subject  string   // the common name
	names    []string // the subject alternative names; empty: whatever the token says
	key      crypto.Signer
	lifetime time.Duration // 0: the CA's default
}

// A TokenRequest tells a TokenFunc what the token is for.
type TokenRequest struct {
	Subject     string   // the common name that is asked for
	Names       []string // the subject alternative names that are asked for
	Audience    string   // what the CA expects in the claim `aud` of a token of its own provisioners
	Fingerprint string   // SHA-256 of the pinned root, hexadecimal
	CSR         []byte   // the certificate request (PKCS #10, DER) that the token will go with
}
