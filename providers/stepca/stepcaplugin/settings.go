package stepcaplugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/providers/stepca"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

// The settings and secrets. Every one is optional but URL and Fingerprint. A role is there when its settings are: trust
// always, identity with Provisioner, ACMESolver or the secret Token, key with KeyProvisioner or KeyX5CProvisioner.
const (
	URL         = "url"         // stepca.Config.URL
	Fingerprint = "fingerprint" // stepca.Config.Fingerprint
	StateDir    = "state-dir"   // stepca.Config.StateDir
	Timeout     = "timeout"     // stepca.Config.Timeout, such as "15s"

	Scope = "scope" // "own" (default) or "federated"
	CRL   = "crl"   // "if-served" (default), "required" or "ignored"

	Names    = "names"    // separated by commas, for identity and key
	Lifetime = "lifetime" // of the identity, such as "24h"
	Rekey    = "rekey"    // "true": a new key at every renewal

	Provisioner = "provisioner" // a JWK provisioner
	Password    = "password"    // secret: that of Provisioner
	Token       = "token"       // secret: a one-time token, instead

	ACMESolver      = "acme-solver"      // "http-01" or "tls-alpn-01", instead
	ACMEProvisioner = "acme-provisioner" // default "acme"
	ACMEAddress     = "acme-address"     // where the solver listens; default ":80" or ":443"

	KeyProvisioner    = "key-provisioner"     // a JWK provisioner with a template for signing keys
	KeyPassword       = "key-password"        // secret: that of KeyProvisioner
	KeyX5CProvisioner = "key-x5c-provisioner" // an X5C provisioner with such a template, instead: the identity vouches
	KeyLifetime       = "key-lifetime"
	KeyLead           = "key-lead"
	KeyOverlap        = "key-overlap"
)

var known = []string{
	URL, Fingerprint, StateDir, Timeout, Scope, CRL, Names, Lifetime, Rekey, Provisioner, Password, Token,
	ACMESolver, ACMEProvisioner, ACMEAddress, KeyProvisioner, KeyPassword, KeyX5CProvisioner, KeyLifetime, KeyLead, KeyOverlap,
}

// Configure makes the providers for settings, without input or output.
func Configure(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
	return build(s, plugin.Logger(ctx))
}

// Validate judges settings without using them.
func Validate(s plugin.Settings) error {
	p, err := build(s, nil)
	if err != nil {
		return err
	}
	return p.Close()
}

// build makes the providers, or reports every problem at once.
func build(s plugin.Settings, log hclog.Logger) (plugin.Providers, error) {
	r := reader{s: s}
	r.add(s.Only(known...))
	c := stepca.New(stepca.Config{
		URL: s.Values[URL], Fingerprint: s.Values[Fingerprint], StateDir: s.Values[StateDir], Timeout: r.duration(Timeout), Logger: log,
	})
	trust := c.Trust(stepca.TrustConfig{
		Scope: pick(&r, Scope, map[string]stepca.Scope{"": stepca.Own, "own": stepca.Own, "federated": stepca.Federated}),
		CRL: pick(&r, CRL, map[string]stepca.CRLMode{
			"": stepca.CRLIfServed, "if-served": stepca.CRLIfServed, "required": stepca.CRLRequired, "ignored": stepca.CRLIgnored,
		}),
	})
	out := plugin.Providers{Trust: trust, Close: c.Close}
	r.add(trust.Validate())

	var identity *stepca.Identity
	if e := r.enrolment(); e != nil {
		identity = c.Identity(stepca.IdentityConfig{
			Names: r.names(), Enrolment: e, Lifetime: r.duration(Lifetime), Rekey: r.truth(Rekey),
		})
		r.add(identity.Validate())
		out.Identity = identity
	}
	if e := r.keyEnrolment(identity); e != nil {
		key := c.Key(stepca.KeyConfig{
			Names: r.names(), Enrolment: e, Lifetime: r.duration(KeyLifetime), Lead: r.duration(KeyLead), Overlap: r.duration(KeyOverlap),
		})
		r.add(key.Validate())
		out.Key = key
	}
	if err := errors.Join(r.errs...); err != nil {
		_ = c.Close()
		return plugin.Providers{}, err
	}
	return out, nil
}

// A reader reads settings and gathers what is wrong with them.
type reader struct {
	s    plugin.Settings
	errs []error
}

func (r *reader) add(err error) {
	if err != nil && !slices.ContainsFunc(r.errs, func(e error) bool { return e.Error() == err.Error() }) {
		r.errs = append(r.errs, err)
	}
}

func (r *reader) bad(field, format string, args ...any) {
	r.add(&fault.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
}

func (r *reader) duration(field string) time.Duration {
	v := r.s.Values[field]
	if v == "" {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		r.bad(field, "%q is no positive duration, such as 15s or 24h", v)
	}
	return d
}

func (r *reader) truth(field string) bool {
	v := r.s.Values[field]
	if v == "" {
		return false
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		r.bad(field, "%q is neither true nor false", v)
	}
	return b
}

func (r *reader) names() []string {
	var names []string
	for n := range strings.SplitSeq(r.s.Values[Names], ",") {
		if n = strings.TrimSpace(n); n != "" {
			names = append(names, n)
		}
	}
	return names
}

func pick[T any](r *reader, field string, from map[string]T) T {
	v, ok := from[r.s.Values[field]]
	if !ok {
		r.bad(field, "%q is none of %q", r.s.Values[field], slices.Sorted(maps.Keys(from)))
	}
	return v
}

// secret gives a secret for one enrolment; nil where it is not set.
func (r *reader) secret(field string) func(context.Context) ([]byte, error) {
	v, ok := r.s.Secrets[field]
	if !ok {
		return nil
	}
	return func(context.Context) ([]byte, error) { return []byte(v), nil }
}

// enrolment is that of the identity; nil: the plugin has none.
func (r *reader) enrolment() stepca.Enrolment {
	v := r.s.Values
	var found []stepca.Enrolment
	if v[Provisioner] != "" {
		found = append(found, stepca.JWK{Provisioner: v[Provisioner], Password: r.secret(Password)})
	}
	if t, ok := r.s.Secrets[Token]; ok {
		found = append(found, stepca.OneTimeToken(t))
	}
	if v[ACMESolver] != "" {
		solver := pick(r, ACMESolver, map[string]stepca.Solver{
			"http-01": stepca.HTTP01{Addr: v[ACMEAddress]}, "tls-alpn-01": stepca.TLSALPN01{Addr: v[ACMEAddress]},
		})
		found = append(found, stepca.ACME{Provisioner: v[ACMEProvisioner], Solver: solver})
	}
	switch {
	case len(found) > 1:
		r.bad(Provisioner, "more than one of %s, %s and %s is set; choose one way to enrol", Provisioner, Token, ACMESolver)
		return nil
	case len(found) == 1:
		return found[0]
	}
	return nil
}

// keyEnrolment is that of the signing key; nil: the plugin has none.
func (r *reader) keyEnrolment(identity *stepca.Identity) stepca.Enrolment {
	jwk, x5c := r.s.Values[KeyProvisioner], r.s.Values[KeyX5CProvisioner]
	switch {
	case jwk != "" && x5c != "":
		r.bad(KeyProvisioner, "is set together with %s; choose one", KeyX5CProvisioner)
	case jwk != "":
		return stepca.JWK{Provisioner: jwk, Password: r.secret(KeyPassword)}
	case x5c != "" && identity == nil:
		r.bad(KeyX5CProvisioner, "needs the identity to vouch; set %s, %s or %s", Provisioner, Token, ACMESolver)
	case x5c != "":
		return stepca.X5C{Provisioner: x5c, From: sdk.IdentityProvider(identity)}
	}
	return nil
}
