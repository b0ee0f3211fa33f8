package providertest

import (
	"context"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

// A Harness of type P makes the provider under test and moves its source. Only New is required; a subtest
// that needs a missing hook is skipped. Hooks fail the test through t and may register clean-ups there.
//
// Use it by the names TrustHarness, IdentityHarness and KeyHarness.
type Harness[P any] struct {
	// New returns a provider over a source that works. It is called once for each subtest. What the
	// provider holds open is released in t.Cleanup, after which none of its goroutines may be left. The
	// source itself may be new each time or shared; the other hooks act on the source of the latest New.
	New func(t testing.TB) P

	// Invalid returns a provider whose configuration is wrong. Its Validate must return an error that
	// wraps sdk.ErrConfig. Leave it nil for a provider that is no sdk.Validator.
	Invalid func(t testing.TB) P

	// Rotate changes the material at the source, so that the next pull must return something else. It
	// returns when the source has changed.
	Rotate func(t testing.TB)

	// Break makes the source fail and returns the sentinel that pulls must wrap from then on. With
	// sdk.ErrUnavailable, an error that wraps no sentinel passes too: it means the same.
	Break func(t testing.TB) error

	// Mend undoes Break. Pulls must work again within Timeout.
	Mend func(t testing.TB)

	// Secrets are strings that no error may contain: passwords, tokens, key material. The suite adds PEM
	// private keys and those keys that it can see.
	Secrets []string

	// IgnoreGoroutine reports whether a goroutine, given its stack as runtime.Stack prints it, is not the
	// provider's: one of an in-process backend, for instance. Nil ignores none.
	IgnoreGoroutine func(stack string) bool

	// Timeout bounds every single wait; default 30 s. It is spent only by a provider that fails.
	Timeout time.Duration
}

// The harness of each role.
type (
	TrustHarness    = Harness[sdk.TrustProvider]
	IdentityHarness = Harness[sdk.IdentityProvider]
	KeyHarness      = Harness[sdk.KeyProvider]
)

// Trust runs the conformance suite for trust providers.
func Trust(t *testing.T, h TrustHarness) {
	t.Helper()
	run(realT{t}, h, trustRole)
}

// Identity runs the conformance suite for identity providers. It performs TLS handshakes with the identity, in
// memory.
func Identity(t *testing.T, h IdentityHarness) {
	t.Helper()
	run(realT{t}, h, identityRole)
}

// Key runs the conformance suite for key providers. It signs with the key.
func Key(t *testing.T, h KeyHarness) {
	t.Helper()
	run(realT{t}, h, keyRole)
}

// A role is what the suite must know about one kind of material.
type role[P, V any] struct {
	pull func(context.Context, P) (V, error)
	// inspect reports everything that is wrong with a value.
	inspect func(t tb, v V)
	// print is equal for equal material: fingerprints of all that a value holds.
	print func(V) string
	// secrets lists the spellings of key material that the process can see.
	secrets func(V) []string
	// extra are subtests of this role alone.
	extra map[string]func(t tb, s *suite[P, V])
}

// A tb is a testing.TB that has subtests, so that the suites can be run against a recorder.
type tb interface {
	testing.TB
	run(name string, f func(tb)) bool
}

type realT struct{ *testing.T }

func (r realT) run(name string, f func(tb)) bool {
	return r.Run(name, func(t *testing.T) { f(realT{t}) })
}
