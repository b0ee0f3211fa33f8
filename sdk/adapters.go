package sdk

import (
	"context"
	"errors"
	"fmt"
)

// A TrustFunc is a function as a TrustProvider. It is polled: a function tells nobody of changes. What the interface
// asks of an implementation, the function must keep.
type TrustFunc func(ctx context.Context) (*TrustBundle, error)

// TrustBundle calls f.
func (f TrustFunc) TrustBundle(ctx context.Context) (*TrustBundle, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return call(ctx, f)
}

// Validate reports a nil function.
func (f TrustFunc) Validate() error { return notNil(f == nil, "TrustFunc") }

// An IdentityFunc is a function as an IdentityProvider. It is polled: a function tells nobody of changes. What the
// interface asks of an implementation, the function must keep.
type IdentityFunc func(ctx context.Context) (*Identity, error)

// Identity calls f.
func (f IdentityFunc) Identity(ctx context.Context) (*Identity, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return call(ctx, f)
}

// Validate reports a nil function.
func (f IdentityFunc) Validate() error { return notNil(f == nil, "IdentityFunc") }

// A KeyFunc is a function as a KeyProvider. It is polled: a function tells nobody of changes. What the interface
// asks of an implementation, the function must keep.
type KeyFunc func(ctx context.Context) (*KeySet, error)

// SigningKeys calls f.
func (f KeyFunc) SigningKeys(ctx context.Context) (*KeySet, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return call(ctx, f)
}

// Validate reports a nil function.
func (f KeyFunc) Validate() error { return notNil(f == nil, "KeyFunc") }

// call spares the function a context that has ended.
func call[T any](ctx context.Context, f func(context.Context) (*T, error)) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f(ctx)
}

func notNil(isNil bool, field string) error {
	if !isNil {
		return nil
	}
	return fmt.Errorf("sdk: %w", &ConfigError{Field: field, Err: errors.New("is nil; give it a function")})
}

var (
	_ TrustProvider    = TrustFunc(nil)
	_ IdentityProvider = IdentityFunc(nil)
	_ KeyProvider      = KeyFunc(nil)
	_ Validator        = TrustFunc(nil)
	_ Validator        = IdentityFunc(nil)
	_ Validator        = KeyFunc(nil)
)
