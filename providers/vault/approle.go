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
	"github.com/hashicorp/vault/api/auth/approle"

	"github.com/alphaonedev/federation/internal/fault"
)

var _ api.AuthMethod = (*AppRole)(nil)

// AppRole logs in with a role-id and a secret-id. Give one of SecretID, SecretIDFile and SecretIDFunc, or
// none for a role with bind_secret_id=false. The file is read, and the function called, at every login, so
// that a secret-id may rotate. White space around an id does not matter: it may be a file's content.
type AppRole struct {
	Mount  string // default "approle"
	RoleID string // required

	SecretID     string
	SecretIDFile string
	SecretIDFunc func(ctx context.Context) (string, error)

	// Wrapped says that what the three give is a response-wrapping token. It is unwrapped once, after
	// checking that it wraps a secret-id of this mount; the secret-id inside then serves for further
	// logins until another wrapping token is given.
	Wrapped bool

	mu        sync.Mutex
	given     string // the last value
	unwrapped string // what was inside given
}

// Login gets the secret-id and logs in.
func (a *AppRole) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	given, err := a.give(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	secretID := given
	if a.Wrapped {
		if given != a.given {
			a.unwrapped = "" // whatever becomes of opening the new one
		}
		secretID = a.unwrapped
	}
	a.given = given
	a.mu.Unlock()
	if a.Wrapped && secretID == "" {
		if secretID, err = a.unwrap(ctx, c, given); err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.unwrapped = secretID
		a.mu.Unlock()
	}
	if secretID == "" {
		return c.Logical().WriteWithContext(ctx, "auth/"+a.mount()+"/login", map[string]any{"role_id": strings.TrimSpace(a.RoleID)})
	}
	method, err := approle.NewAppRoleAuth(strings.TrimSpace(a.RoleID), &approle.SecretID{FromString: secretID}, approle.WithMountPath(a.mount()))
	if err != nil {
		return nil, fmt.Errorf("%v: %w", err, fault.ErrConfig)
	}
	return method.Login(ctx, c)
}

func (a *AppRole) give(ctx context.Context) (string, error) {
	switch {
	case a.SecretIDFunc != nil:
		id, err := a.SecretIDFunc(ctx)
		return strings.TrimSpace(id), err
	case a.SecretIDFile != "":
		data, err := os.ReadFile(a.SecretIDFile)
		if err != nil {
			return "", fileError(err)
		}
		id := strings.TrimSpace(string(data))
		if id == "" {
			return "", fmt.Errorf("secret-id file %s is empty: %w", a.SecretIDFile, fault.ErrUnavailable)
		}
		return id, nil
	default:
		return strings.TrimSpace(a.SecretID), nil
	}
}

// unwrap exchanges a wrapping token for the secret-id. The path it was made at is checked first: an
// attacker who has opened a wrapping can put something else into a new one.
func (a *AppRole) unwrap(ctx context.Context, c *api.Client, token string) (string, error) {
	gone := func(err error) error {
		if re, ok := errors.AsType[*api.ResponseError](err); ok && re.StatusCode == 400 {
			return fmt.Errorf("the wrapped secret-id has expired or was already opened; if not by this node, somebody else has it: %w", fault.ErrPermission)
		}
		return err
	}
	about, err := c.Logical().WriteWithContext(ctx, "sys/wrapping/lookup", map[string]any{"token": token})
	if err != nil {
		return "", gone(err)
	}
	path := ""
	if about != nil {
		path, _ = about.Data["creation_path"].(string)
	}
	if !strings.HasPrefix(path, "auth/"+a.mount()+"/role/") || !strings.HasSuffix(path, "/secret-id") {
		return "", fmt.Errorf("the wrapping token was made at %q, not for a secret-id of auth/%s: %w", path, a.mount(), fault.ErrPermission)
	}
	inside, err := c.Logical().UnwrapWithContext(ctx, token)
	if err != nil {
		return "", gone(err)
	}
	id := ""
	if inside != nil {
		id, _ = inside.Data["secret_id"].(string)
	}
	if id == "" {
		return "", fmt.Errorf("the wrapping token holds no secret-id: %w", fault.ErrMaterial)
	}
	return id, nil
}

func (a *AppRole) mount() string { return mountOr(a.Mount, "approle") }

func (a *AppRole) validate() error {
	var errs []error
	if a.RoleID == "" {
		errs = append(errs, errors.New("AppRole.RoleID is empty"))
	}
	n := 0
	for _, set := range []bool{a.SecretID != "", a.SecretIDFile != "", a.SecretIDFunc != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		errs = append(errs, errors.New("AppRole has more than one of SecretID, SecretIDFile and SecretIDFunc: set one"))
	}
	if a.Wrapped && n == 0 {
		errs = append(errs, errors.New("AppRole.Wrapped is set without a wrapping token"))
	}
	return errors.Join(errs...)
}

func (a *AppRole) describe() string { return "AppRole at auth/" + a.mount() }

func (a *AppRole) secrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return []string{a.given, a.unwrapped, strings.TrimSpace(a.SecretID)}
}

// Format keeps the secret-id out of every %v.
func (a *AppRole) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("vault.AppRole{…}")) }

// LogValue keeps the secret-id out of log/slog.
func (a *AppRole) LogValue() slog.Value { return slog.StringValue("vault.AppRole{…}") }

// MarshalText keeps the secret-id out of JSON.
func (a *AppRole) MarshalText() ([]byte, error) { return []byte("vault.AppRole{…}"), nil }

func mountOr(mount, or string) string {
	if mount = strings.Trim(mount, "/"); mount == "" {
		return or
	}
	return mount
}
