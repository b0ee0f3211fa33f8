package sdk

import "github.com/alphaonedev/federation/internal/fault"

// The errors that cross every boundary, a plugin's included. The same values as in signer and transport.
var (
	ErrNotFound    = fault.ErrNotFound    // the material does not exist at the source
	ErrUnavailable = fault.ErrUnavailable // try again; the meaning of any unknown error
	ErrPermission  = fault.ErrPermission  // the source refused us
	ErrExpired     = fault.ErrExpired     // the material is no longer valid
	ErrConfig      = fault.ErrConfig      // wrong for ever: fails Build
	ErrMaterial    = fault.ErrMaterial    // the backend answered nonsense: keep the last good, try again
	ErrUnsupported = fault.ErrUnsupported // the provider does not do this
	ErrClosed      = fault.ErrClosed      // the object was closed
)

// A ProviderError says which provider failed at what.
type ProviderError = fault.ProviderError

// A ConfigError names the field of a configuration that cannot work, and the cure. It matches ErrConfig.
type ConfigError = fault.ConfigError

// A Role says which of the three parts of a federation a provider fills.
type Role = fault.Role

// The three roles.
const (
	RoleTrust    = fault.RoleTrust
	RoleIdentity = fault.RoleIdentity
	RoleKey      = fault.RoleKey
)
