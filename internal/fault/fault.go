// Package fault holds the error sentinels of the module. sdk, signer and transport re-export the same
// values, so that errors.Is gives one answer wherever an error has passed, a plugin's socket included.
package fault

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound: the material does not exist at the source (no key enrolled, no such path).
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the source cannot be reached or is not ready; try again. An error that wraps no
	// sentinel means this.
	ErrUnavailable = errors.New("unavailable")
	// ErrPermission: the source refused us.
	ErrPermission = errors.New("permission denied")
	// ErrExpired: the material, or what would renew it, is no longer valid.
	ErrExpired = errors.New("expired")
	// ErrConfig: the configuration is wrong and stays wrong until somebody changes it.
	ErrConfig = errors.New("invalid configuration")
	// ErrMaterial: the source answered, and the answer is not usable. The last good material stays.
	ErrMaterial = errors.New("unusable material")
	// ErrUnsupported: the provider does not do this.
	ErrUnsupported = errors.New("unsupported")
	// ErrClosed: the object was closed.
	ErrClosed = errors.New("closed")
)

// Role says which of the three parts of a federation a provider fills.
type Role string

// The three roles.
const (
	RoleTrust    Role = "trust"
	RoleIdentity Role = "identity"
	RoleKey      Role = "key"
)

// A ProviderError says which provider failed at what.
type ProviderError struct {
	Role Role   // the part the provider fills
	Op   string // what it was doing: "pull", "watch", "sign", …
	Err  error  // why; wraps a sentinel where one is known
	// RetryAfter is the backend's own wish; 0: none. It is a lower bound for the next attempt.
	RetryAfter time.Duration
}

func (e *ProviderError) Error() string {
	return fmt.Sprintf("%s provider: %s: %v", e.Role, e.Op, e.Err)
}

func (e *ProviderError) Unwrap() error { return e.Err }

// A ConfigError names the field of a configuration that cannot work. It matches ErrConfig, and what Err
// wraps.
type ConfigError struct {
	Field string // as the caller wrote it: "Peers[2].URL"
	Err   error  // what was found, and the cure
}

func (e *ConfigError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap makes a ConfigError match ErrConfig as well as its cause.
func (e *ConfigError) Unwrap() []error { return []error{ErrConfig, e.Err} }

// Retryable reports whether trying again without a change of configuration can help: everything but
// ErrConfig, ErrUnsupported and ErrClosed.
func Retryable(err error) bool {
	return err != nil && !errors.Is(err, ErrConfig) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrClosed)
}
