package stepca

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// A Key is a provider of signing keys that the CA vouches for.
type Key struct{ c *Client }

// A KeyConfig says which signing keys.
type KeyConfig struct{}

// Key makes a key provider.
func (c *Client) Key(cfg KeyConfig) *Key { return &Key{c: c} }

// SigningKeys implements sdk.KeyProvider.
func (k *Key) SigningKeys(ctx context.Context) (*sdk.KeySet, error) {
	return nil, fmt.Errorf("stepca: %w", fault.ErrUnsupported)
}
