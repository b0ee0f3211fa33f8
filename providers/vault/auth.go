package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/fault"
)

// Stale is what an Auth method may implement to say that its last login is out of date, because its
// credentials have changed. It is asked before every request, so it must be cheap.
type Stale interface{ Stale() bool }

var (
	_ api.AuthMethod = (*Token)(nil)
	_ api.AuthMethod = (*TokenFile)(nil)
	_ Stale          = (*TokenFile)(nil)
)

// Token logs in with a token made elsewhere. It is renewed as long as Vault allows; once it is dead, pulls
// fail with ErrExpired, since nothing can replace it.
type Token struct {
	Value string // required; white space around it does not matter
}

// Login looks the token up, to learn how long it lives.
func (t *Token) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	return adopt(ctx, c, strings.TrimSpace(t.Value))
}

func (t *Token) validate() error {
	if strings.TrimSpace(t.Value) == "" {
		return errors.New("Token.Value is empty")
	}
	return nil
}

func (t *Token) describe() string  { return "the given token" }
func (t *Token) secrets() []string { return []string{strings.TrimSpace(t.Value)} }

// Format keeps the token out of every %v.
func (Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("vault.Token{…}")) }

// LogValue keeps the token out of log/slog.
func (Token) LogValue() slog.Value { return slog.StringValue("vault.Token{…}") }

// MarshalText keeps the token out of JSON.
func (Token) MarshalText() ([]byte, error) { return []byte("vault.Token{…}"), nil }

// adopt makes a login of a token that exists. A token whose policies do not let it look itself up is used as
// it is.
func adopt(ctx context.Context, c *api.Client, token string) (*api.Secret, error) {
	c = c.WithNamespace(c.Namespace()) // a copy, so that the token stays out of the caller's
	c.SetToken(token)
	found, err := c.Auth().Token().LookupSelfWithContext(ctx)
	if re, ok := errors.AsType[*api.ResponseError](err); ok && re.StatusCode == 403 {
		if !saysDead(strings.Join(re.Errors, " ")) {
			return &api.Secret{Auth: &api.SecretAuth{ClientToken: token}}, nil
		}
		return nil, fmt.Errorf("vault does not know the token: it has expired, was revoked or is used up; give another: %w", fault.ErrExpired)
	}
	if err != nil {
		return nil, err
	}
	ttl, err := found.TokenTTL()
	if err != nil {
		return nil, fmt.Errorf("the token's TTL is unreadable: %w", fault.ErrMaterial)
	}
	renewable, err := found.TokenIsRenewable()
	if err != nil {
		return nil, fmt.Errorf("the token's renewability is unreadable: %w", fault.ErrMaterial)
	}
	return &api.Secret{Auth: &api.SecretAuth{
		ClientToken: token, LeaseDuration: int(ttl.Seconds()), Renewable: renewable,
	}}, nil
}

// TokenFile logs in with the token in a file, such as the sink of a Vault agent. The file is looked at
// before every request and read again when it has changed.
type TokenFile struct {
	Path string // required

	mu    sync.Mutex
	stamp fileStamp
	value string
}

// Login reads the file and looks its token up.
func (t *TokenFile) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	stamp, err := stampOf(t.Path)
	if err != nil {
		return nil, fileError(err)
	}
	data, err := os.ReadFile(t.Path)
	if err != nil {
		return nil, fileError(err)
	}
	token := strings.TrimSpace(string(data))
	t.mu.Lock()
	t.stamp, t.value = stamp, token
	t.mu.Unlock()
	if token == "" {
		return nil, fmt.Errorf("token file %s is empty: %w", t.Path, fault.ErrUnavailable)
	}
	return adopt(ctx, c, token)
}

// Stale reports whether the file has changed since it was read.
func (t *TokenFile) Stale() bool {
	stamp, err := stampOf(t.Path)
	t.mu.Lock()
	defer t.mu.Unlock()
	return err == nil && stamp != t.stamp
}

// Format prints the path alone: the value holds the token that it read.
func (t *TokenFile) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "vault.TokenFile{%s}", t.Path) }

func (t *TokenFile) validate() error {
	if t.Path == "" {
		return errors.New("TokenFile.Path is empty")
	}
	return nil
}

func (t *TokenFile) describe() string { return "the token in " + t.Path }

func (t *TokenFile) secrets() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return []string{t.value}
}

// fileError says what an unreadable credential file means: one that is missing may still be delivered.
func fileError(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%v: %w", err, fault.ErrPermission)
	}
	return fmt.Errorf("%v: %w", err, fault.ErrUnavailable)
}
