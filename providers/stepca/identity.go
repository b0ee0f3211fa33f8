package stepca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// An IdentityConfig says which certificate a node wants. Enrolment is required, and Names where it needs them.
type IdentityConfig struct {
	// Names are the subject alternative names: DNS names, IP addresses, URIs (spiffe://…), e-mail addresses. The first is
	// the common name too. With a OneTimeToken or a TokenFunc they may be empty: then those that the token gives.
	Names []string

	// Enrolment is how the CA learns that the node may have the certificate.
	Enrolment Enrolment

	// Key is a key of the caller's, wherever it lives: a TPM, a KMS. It is not rotated and not stored. Nil: a key is made
	// by NewKey, and kept in the StateDir where there is one.
	Key crypto.Signer
	// NewKey makes keys; nil: ECDSA on P-256. With a StateDir they must be of a kind that PKCS #8 can hold.
	NewKey func() (crypto.Signer, error)
	// Rekey takes a new key at every renewal. Without it a renewal keeps the key.
	Rekey bool

	// Lifetime is asked for at enrolment; 0: the provisioner's default. The CA refuses what the provisioner does not
	// allow. Renewal keeps the lifetime that the certificate has.
	Lifetime time.Duration

	// StateName is the name of the state file, less ".json"; default "identity". Two identities of one client need two.
	StateName string
}

// An Identity enrols with the CA and renews. It implements sdk.IdentityProvider and sdk.Validator.
type Identity struct {
	c     *Client
	cfg   IdentityConfig
	names error // what is wrong with StateName
	flow  certFlow
}

var (
	_ sdk.IdentityProvider = (*Identity)(nil)
	_ sdk.Validator        = (*Identity)(nil)
)

// Identity makes an identity provider. It does no input or output: the first pull enrols, unless the StateDir holds what
// is still valid.
func (c *Client) Identity(cfg IdentityConfig) *Identity {
	if cfg.StateName == "" {
		cfg.StateName = "identity"
	}
	i := &Identity{c: c, cfg: cfg, names: c.claimName(cfg.StateName)}
	i.flow = certFlow{c: c, path: c.statePath(cfg.StateName), cfg: cfg, authority: live{c, cfg}, gate: make(chan struct{}, 1)}
	return i
}

var stateName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// claimName keeps two providers of a client from sharing a state file.
func (c *Client) claimName(name string) error {
	bad := func(format string, args ...any) error {
		return &fault.ConfigError{Field: "StateName", Err: fmt.Errorf(format, args...)}
	}
	if !stateName.MatchString(name) || name == "roots" || name == "crl" {
		return bad("%q is no name for a state file; use letters, digits, '-' and '_', and neither %q nor %q", name, "roots", "crl")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[name] && c.cfg.StateDir != "" {
		return bad("%q is taken by another provider of this client; give each its own", name)
	}
	c.names[name] = true
	return nil
}

// Format prints the names alone: the value holds a key, and may hold a token.
func (i *Identity) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "stepca.Identity{%q}", i.cfg.Names)
}

// Validate reports what is wrong with the configuration, without contacting the CA.
func (i *Identity) Validate() error {
	errs := []error{i.c.err, i.names}
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	_, err := parseNames(i.cfg.Names)
	errs = append(errs, err)
	if i.cfg.Enrolment == nil {
		bad("Enrolment", "is nil; use a OneTimeToken, TokenFunc, JWK, X5C or ACME")
	} else {
		errs = append(errs, i.cfg.Enrolment.validate(i.cfg.Names))
	}
	if i.cfg.Key != nil && (i.cfg.NewKey != nil || i.cfg.Rekey) {
		bad("Key", "is set together with NewKey or Rekey; a key of the caller's is not replaced: choose one")
	}
	if i.cfg.Lifetime < 0 {
		bad("Lifetime", "is %v; use a positive duration, or 0 for the provisioner's default", i.cfg.Lifetime)
	}
	return wrap(errors.Join(errs...))
}

// Identity returns the certificate that is valid now. It enrols when there is none, renews from two thirds of its life
// on, and enrols again when the CA will not renew it. A call that need do none of that contacts nobody.
//
// While the CA does not answer, the first call after a start returns a stored certificate that is still valid; a later
// call returns the error, since the caller holds the last good one. ErrPermission means that the CA refuses, ErrExpired
// that a token or a certificate is past its time, ErrMaterial that what the CA issued is not what was asked for.
func (i *Identity) Identity(ctx context.Context) (*sdk.Identity, error) {
	if err := i.Validate(); err != nil {
		return nil, err
	}
	h, wait, err := i.flow.current(ctx)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = errors.Join(ctx.Err(), err)
		}
		return nil, fail(fault.RoleIdentity, "pull", err)
	}
	return &sdk.Identity{Certificate: h.tls(), RefreshAfter: wait}, nil
}

// newKey makes the key for an enrolment, or for a renewal with a new one.
func (cfg IdentityConfig) newKey() (crypto.Signer, error) {
	switch {
	case cfg.Key != nil:
		return cfg.Key, nil
	case cfg.NewKey != nil:
		k, err := cfg.NewKey()
		if err == nil && k == nil {
			err = errors.New("NewKey returned no key")
		}
		return k, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// tlsUsage is what a node's certificate must allow: it is shown by both ends of a connection.
var tlsUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
