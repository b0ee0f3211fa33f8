package stepca

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

const (
	// DefaultLead is how long a new signing key is published before it signs.
	DefaultLead = 5 * time.Minute
	// DefaultOverlap is how long an old signing key stays published after it stopped signing.
	DefaultOverlap = time.Hour
)

// A KeyConfig says for which names the CA vouches for a signing key. Names and Enrolment are required.
//
// The Enrolment needs a provisioner of its own, with a template that gives certificates no TLS usage: a certificate that
// could be used in TLS is refused here, since the key behind it signs messages. docs/stepca.md has the template.
type KeyConfig struct {
	// Names are the subject alternative names: those by which peers know the node, as in its TLS certificate.
	Names []string

	// Enrolment is a JWK or X5C (which needs no password: the node's TLS certificate vouches), or a TokenFunc. It is used
	// for every new key, so a OneTimeToken is refused.
	Enrolment Enrolment

	// Lifetime is asked for; 0: the provisioner's default. At two thirds of it a new key takes over.
	Lifetime time.Duration
	// Lead is how long a new key is published before it signs; default DefaultLead.
	Lead time.Duration
	// Overlap is how long an old key stays published after it stopped signing; default DefaultOverlap. It never outlives
	// its certificate.
	Overlap time.Duration

	// StateName is the name of the state file, less ".json"; default "key".
	StateName string
}

// A Key makes Ed25519 signing keys that the CA vouches for, each with a certificate, and replaces them before those end.
// The keys are in no way related to the TLS key. It implements sdk.KeyProvider and sdk.Validator.
type Key struct {
	c     *Client
	cfg   KeyConfig
	names error // what is wrong with StateName
	flow  keyFlow
}

var (
	_ sdk.KeyProvider = (*Key)(nil)
	_ sdk.Validator   = (*Key)(nil)
)

// Key makes a provider of signing keys. It does no input or output.
func (c *Client) Key(cfg KeyConfig) *Key {
	if cfg.StateName == "" {
		cfg.StateName = "key"
	}
	if cfg.Lead == 0 {
		cfg.Lead = DefaultLead
	}
	if cfg.Overlap == 0 {
		cfg.Overlap = DefaultOverlap
	}
	return &Key{
		c: c, cfg: cfg, names: c.claimName(cfg.StateName),
		flow: keyFlow{c: c, cfg: cfg, path: c.statePath(cfg.StateName), gate: make(chan struct{}, 1)},
	}
}

// Format prints the names alone: the value holds keys.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "stepca.Key{%q}", k.cfg.Names) }

// Validate reports what is wrong with the configuration, without contacting the CA.
func (k *Key) Validate() error {
	errs := []error{k.c.err, k.names}
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	_, err := parseNames(k.cfg.Names)
	errs = append(errs, err)
	if len(k.cfg.Names) == 0 {
		bad("Names", "is empty; give the names by which peers know the node")
	}
	switch {
	case k.cfg.Enrolment == nil:
		bad("Enrolment", "is nil; use a JWK, X5C or TokenFunc")
	case !k.cfg.Enrolment.repeatable():
		bad("Enrolment", "is a OneTimeToken, which certifies one key once, and signing keys rotate; use a JWK, X5C or TokenFunc")
	default:
		if _, isACME := k.cfg.Enrolment.(ACME); isACME {
			bad("Enrolment", "is an ACME; its certificates are for TLS: use a JWK, X5C or TokenFunc")
		}
		errs = append(errs, k.cfg.Enrolment.validate(k.cfg.Names))
	}
	for _, d := range []struct {
		field string
		v     time.Duration
	}{{"Lifetime", k.cfg.Lifetime}, {"Lead", k.cfg.Lead}, {"Overlap", k.cfg.Overlap}} {
		if d.v < 0 {
			bad(d.field, "is %v; use a positive duration, or 0 for the default", d.v)
		}
	}
	return wrap(errors.Join(errs...))
}

// SigningKeys returns the key that signs now, those that are published beside it, and the chains of all. A call that need
// not certify a key contacts nobody.
//
// While the CA does not answer, the first call after a start returns stored keys whose certificates are still valid; a later
// call returns the error, since the caller holds the last good set. ErrMaterial names what is wrong with the
// provisioner's template.
func (k *Key) SigningKeys(ctx context.Context) (*sdk.KeySet, error) {
	if err := k.Validate(); err != nil {
		return nil, err
	}
	set, err := k.flow.current(ctx)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = errors.Join(ctx.Err(), err)
		}
		return nil, fail(fault.RoleKey, "pull", err)
	}
	return set, nil
}
