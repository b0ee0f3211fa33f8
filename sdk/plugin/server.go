package plugin

import (
	"context"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// Providers are the roles that a plugin fills under one configuration. A nil role is one that it does not.
type Providers struct {
	Trust    sdk.TrustProvider
	Identity sdk.IdentityProvider
	Key      sdk.KeyProvider

	// Close releases what the providers hold, once another configuration has taken their place or the
	// plugin stops. Nil: nothing to release.
	Close func() error
}

// A Configure makes the providers for a configuration. ctx bounds the call alone. An error leaves the
// configuration of before in force; it wraps one of sdk's sentinels, ErrConfig for a configuration that
// cannot work, and holds no secret. Calls come one at a time.
type Configure func(ctx context.Context, s Settings) (Providers, error)

// A Server is a plugin that can say more of itself than Serve does. Configure is required.
type Server struct {
	Name    string // default: the base name of the executable
	Version string // default: the version of the main module
	// Roles are those that some configuration gives it. Default: all three.
	Roles []fault.Role
	// Configure makes the providers.
	Configure Configure
	// Validate judges a configuration without using it. Nil: only Configure can tell.
	Validate func(s Settings) error
}

// Serve serves the providers that configure makes until the host says stop or is gone, and then ends the
// process. It is all that main does. Called in a process that no host started, it says so on standard error
// and exits with status 2.
//
// Standard output belongs to the handshake; what the process prints there, or on standard error, reaches
// the host's log. Loggers of package log and hclog do too, with their levels.
func Serve(configure Configure) { (&Server{Configure: configure}).Serve() }
