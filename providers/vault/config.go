package vault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Config says where Vault is and how to log in. Only Address is required.
type Config struct {
	// Address is Vault's URL, "https://vault.example:8200", or "unix:///run/agent.sock" for the listener of
	// a local agent. http is refused unless AllowPlaintext is set or the host is a loopback address.
	Address string
	// Auth logs in: a *Token, *TokenFile, *AppRole, *Kubernetes, *Cert or *JWT of this package, or any
	// method of the official github.com/hashicorp/vault/api/auth packages. nil: requests carry no token,
	// which is enough for Trust, and for everything behind an agent that adds its own.
	Auth api.AuthMethod
	// Namespace is where the mounts are; "": the root namespace.
	Namespace string
	// LoginNamespace is where Auth logs in. "": the same as Namespace; "root": the root namespace.
	LoginNamespace string

	// Roots verify Vault's own certificate. nil, without RootsFile: the system's.
	Roots []*x509.Certificate
	// RootsFile is a PEM file that is used instead of Roots. It is read again when it changes.
	RootsFile string
	// ServerName is the name Vault's certificate is checked against. "": the host of Address.
	ServerName string
	// ClientCertificate is shown when Vault asks for one; *Cert needs it. nil: none.
	ClientCertificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Proxy picks the proxy of a request. nil: none, whatever the environment says.
	Proxy func(*http.Request) (*url.URL, error)
	// AllowPlaintext permits an http Address that is not a loopback one. Tokens then travel in the clear.
	AllowPlaintext bool

	// Timeout bounds one request, from the dial to the last byte. Default 10 s.
	Timeout time.Duration
	// Logger hears of logins, renewals and what Vault got wrong. nil: silent.
	Logger hclog.Logger
}

const (
	defaultTimeout = 10 * time.Second
	defaultRefresh = 5 * time.Minute
)

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	c.Namespace = cleanNamespace(c.Namespace)
	if c.LoginNamespace == "" {
		c.LoginNamespace = c.Namespace
	}
	c.LoginNamespace = cleanNamespace(c.LoginNamespace)
	return c
}

func cleanNamespace(ns string) string {
	ns = strings.Trim(ns, "/")
	if ns == "root" {
		return ""
	}
	return ns
}

func (c Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	u, err := url.Parse(c.Address)
	switch {
	case c.Address == "":
		bad("Address", `is empty: give Vault's URL, such as "https://vault.example:8200"`)
	case err != nil:
		bad("Address", "is not a URL: give one such as \"https://vault.example:8200\"")
	case u.User != nil:
		bad("Address", "holds user information: remove it, and log in with Auth")
	case u.RawQuery != "" || u.Fragment != "":
		bad("Address", "has a query or fragment: remove it")
	case u.Scheme == "unix":
		if u.Path == "" {
			bad("Address", `has no socket path: write "unix:///path/to/socket"`)
		}
	case u.Host == "":
		bad("Address", "%q has no host: write \"https://host:8200\"", c.Address)
	case u.Scheme == "http" && !c.AllowPlaintext && !loopback(u.Hostname()):
		bad("Address", "%q would send tokens in the clear: use https, or set AllowPlaintext", c.Address)
	case u.Scheme != "https" && u.Scheme != "http":
		bad("Address", "has the scheme %q: use https", u.Scheme)
	}
	if len(c.Roots) > 0 && c.RootsFile != "" {
		bad("RootsFile", "is set together with Roots: set one")
	}
	if v, ok := c.Auth.(interface{ validate() error }); ok {
		if err := v.validate(); err != nil {
			bad("Auth", "%w", err)
		}
	}
	if _, ok := c.Auth.(*Cert); ok && c.ClientCertificate == nil {
		bad("ClientCertificate", "is nil: *Cert logs in with it")
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
