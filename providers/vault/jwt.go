package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/alphaonedev/federation/internal/fault"
)

var (
	_ api.AuthMethod = (*JWT)(nil)
	_ api.AuthMethod = (*Kubernetes)(nil)
	_ api.AuthMethod = (*Cert)(nil)
)

// JWT logs in with a JSON Web Token of an issuer that Vault trusts. Give one of Path and Func; either is
// asked at every login, so that the token may rotate.
type JWT struct {
	Mount string // default "jwt"
	Role  string // "": the mount's default role
	Path  string // a file with the token
	Func  func(ctx context.Context) (string, error)

	last lastSecret
}

// Login gets the token and logs in.
func (j *JWT) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	var token string
	var err error
	if j.Func != nil {
		token, err = j.Func(ctx)
	} else {
		token, err = readToken(j.Path)
	}
	if err != nil {
		return nil, err
	}
	j.last.set(token)
	return c.Logical().WriteWithContext(ctx, "auth/"+j.mount()+"/login", map[string]any{"role": j.Role, "jwt": token})
}

// Format keeps the token that was used last out of every %v.
func (j *JWT) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "vault.JWT{%s}", j.mount()) }

func (j *JWT) mount() string { return mountOr(j.Mount, "jwt") }

func (j *JWT) validate() error {
	if (j.Path == "") == (j.Func == nil) {
		return errors.New("JWT needs one of Path and Func")
	}
	return nil
}

func (j *JWT) describe() string  { return "JWT at auth/" + j.mount() }
func (j *JWT) secrets() []string { return j.last.get() }

// Kubernetes logs in with the pod's service account.
type Kubernetes struct {
	Mount string // default "kubernetes"
	Role  string // required
	// TokenPath is the service account's token, read at every login. Default: where Kubernetes mounts it,
	// /var/run/secrets/kubernetes.io/serviceaccount/token.
	TokenPath string

	last lastSecret
}

// Login reads the service account's token and logs in.
func (k *Kubernetes) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	path := k.TokenPath
	if path == "" {
		path = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	}
	token, err := readToken(path)
	if err != nil {
		return nil, err
	}
	k.last.set(token)
	method, err := kubernetes.NewKubernetesAuth(k.Role,
		kubernetes.WithMountPath(k.mount()), kubernetes.WithServiceAccountToken(token))
	if err != nil {
		return nil, fmt.Errorf("%v: %w", err, fault.ErrConfig)
	}
	return method.Login(ctx, c)
}

// Format keeps the token that was used last out of every %v.
func (k *Kubernetes) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "vault.Kubernetes{%s}", k.mount())
}

func (k *Kubernetes) mount() string { return mountOr(k.Mount, "kubernetes") }

func (k *Kubernetes) validate() error {
	if k.Role == "" {
		return errors.New("Kubernetes.Role is empty")
	}
	return nil
}

func (k *Kubernetes) describe() string  { return "Kubernetes at auth/" + k.mount() }
func (k *Kubernetes) secrets() []string { return k.last.get() }

// Cert logs in with the certificate of Config.ClientCertificate.
type Cert struct {
	Mount string // default "cert"
	Name  string // the role; "": any that matches
}

// Login logs in over the connection's own certificate.
func (m *Cert) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	return c.Logical().WriteWithContext(ctx, "auth/"+m.mount()+"/login", map[string]any{"name": m.Name})
}

func (m *Cert) mount() string    { return mountOr(m.Mount, "cert") }
func (m *Cert) describe() string { return "a certificate at auth/" + m.mount() }

func readToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fileError(err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("token file %s is empty: %w", path, fault.ErrUnavailable)
	}
	return token, nil
}

// A lastSecret is remembered so that it can be cut out of messages.
type lastSecret struct {
	mu sync.Mutex
	s  string
}

func (l *lastSecret) set(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s = s
}

func (l *lastSecret) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []string{l.s}
}
