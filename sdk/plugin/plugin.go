package plugin

import (
	"context"
	"errors"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

var errTodo = errors.New("plugin: not in this version")

const cookieKey = "FEDERATION_PLUGIN"

// A Plugin is a plugin under supervision. Its methods are safe for concurrent use.
type Plugin struct{}

// Open starts the plugin, configures it, and returns once it serves. ctx bounds the start only. The caller
// closes the Plugin.
func Open(ctx context.Context, c Config) (*Plugin, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return nil, errTodo
}

// Trust returns the plugin's trust provider. A plugin without the role is ErrUnsupported.
func (p *Plugin) Trust() (sdk.TrustProvider, error) { return nil, fault.ErrUnsupported }

// Identity returns the plugin's identity provider. A plugin without the role is ErrUnsupported.
func (p *Plugin) Identity() (sdk.IdentityProvider, error) { return nil, fault.ErrUnsupported }

// Key returns the plugin's key provider. A plugin without the role is ErrUnsupported.
func (p *Plugin) Key() (sdk.KeyProvider, error) { return nil, fault.ErrUnsupported }

// Status says how the plugin is.
func (p *Plugin) Status() Status { return Status{} }

// Configure puts other settings and secrets in force, and keeps them for every process started from now on.
// After an error those of before stay.
func (p *Plugin) Configure(ctx context.Context, settings map[string]string, secrets map[string]Secret) error {
	return errTodo
}

// Close stops the plugin and waits until its process is gone. It is idempotent.
func (p *Plugin) Close() error { return nil }

// Serve is package-level Serve with what the Server says.
func (s *Server) Serve() {}
