package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

// configure makes the providers whose settings are there.
func configure(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
	r := &reader{s: s}
	cfg := r.config()
	cfg.Logger = plugin.Logger(ctx)
	client := vault.New(cfg)
	p := plugin.Providers{Close: client.Close}
	if mounts := r.list("trust"); len(mounts) > 0 {
		p.Trust = client.Trust(vault.TrustOptions{
			Mounts: mounts, Issuers: r.list("issuers"), NoCRLs: !r.flag("crls", true), RefreshAfter: r.duration("refresh"),
		})
	}
	if role := r.value("role"); role != "" {
		p.Identity = client.Identity(vault.IdentityOptions{
			Role: role, Mount: r.value("pki"), Issuer: r.value("issuer"),
			DNS: r.list("dns"), URIs: r.list("uris"), IPs: r.ips("ips"), TTL: r.duration("ttl"),
		})
	}
	if key := r.value("key"); key != "" {
		p.Key = client.Key(vault.KeyOptions{
			Name: key, Mount: r.value("transit"), Announce: r.duration("announce"), Overlap: r.duration("overlap"),
			Export: r.flag("export", false), RefreshAfter: r.duration("refresh"),
		})
	}
	errs := append(r.errs, s.Only(r.known()...))
	for _, v := range []any{p.Trust, p.Identity, p.Key} {
		if v, ok := v.(sdk.Validator); ok {
			errs = append(errs, v.Validate())
		}
	}
	if err := errors.Join(errs...); err != nil {
		_ = client.Close()
		return plugin.Providers{}, err
	}
	return p, nil
}

// validate judges settings without using them; nothing is contacted before the first pull anyway.
func validate(s plugin.Settings) error {
	p, err := configure(context.Background(), s)
	if err != nil {
		return err
	}
	return p.Close()
}

// A reader reads settings, and collects what is wrong with them.
type reader struct {
	s    plugin.Settings
	errs []error
}

func (r *reader) known() []string {
	return strings.Fields(`address namespace login-namespace ca server-name timeout token token-file
		role-id secret-id secret-id-file approle wrapped kubernetes-role kubernetes service-account
		jwt-role jwt jwt-file trust issuers crls role pki issuer dns uris ips ttl
		key transit announce overlap export refresh`)
}

func (r *reader) config() vault.Config {
	c := vault.Config{
		Address: r.value("address"), Namespace: r.value("namespace"), LoginNamespace: r.value("login-namespace"),
		RootsFile: r.value("ca"), ServerName: r.value("server-name"), Timeout: r.duration("timeout"),
	}
	methods := 0
	use := func(set bool, login func()) {
		if set {
			methods++
			login()
		}
	}
	token, secretID := string(r.s.Secrets["token"]), string(r.s.Secrets["secret-id"])
	use(token != "", func() { c.Auth = &vault.Token{Value: token} })
	use(r.value("token-file") != "", func() { c.Auth = &vault.TokenFile{Path: r.value("token-file")} })
	use(r.value("role-id") != "", func() {
		c.Auth = &vault.AppRole{
			Mount: r.value("approle"), RoleID: r.value("role-id"),
			SecretID: secretID, SecretIDFile: r.value("secret-id-file"), Wrapped: r.flag("wrapped", false),
		}
	})
	use(r.value("kubernetes-role") != "", func() {
		c.Auth = &vault.Kubernetes{Mount: r.value("kubernetes"), Role: r.value("kubernetes-role"), TokenPath: r.value("service-account")}
	})
	use(r.value("jwt-file") != "", func() {
		c.Auth = &vault.JWT{Mount: r.value("jwt"), Role: r.value("jwt-role"), Path: r.value("jwt-file")}
	})
	if methods > 1 {
		r.bad("token", "more than one way to log in is set (token, token-file, role-id, kubernetes-role, jwt-file): set one")
	}
	return c
}

func (r *reader) bad(field, format string, args ...any) {
	r.errs = append(r.errs, &sdk.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
}

func (r *reader) value(name string) string { return strings.TrimSpace(r.s.Values[name]) }

func (r *reader) list(name string) []string {
	return strings.FieldsFunc(r.value(name), func(c rune) bool { return c == ',' || c == ' ' })
}

func (r *reader) ips(name string) []net.IP {
	var out []net.IP
	for _, s := range r.list(name) {
		ip := net.ParseIP(s)
		if ip == nil {
			r.bad(name, "%q is not an IP address", s)
			continue
		}
		out = append(out, ip)
	}
	return out
}

func (r *reader) duration(name string) time.Duration {
	s := r.value(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.bad(name, "%q is not a duration such as 90s or 1h", s)
	}
	return d
}

func (r *reader) flag(name string, absent bool) bool {
	s := r.value(name)
	if s == "" {
		return absent
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		r.bad(name, "%q is neither true nor false", s)
	}
	return b
}
