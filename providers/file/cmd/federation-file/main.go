// Command federation-file is package file as a plugin: trust, identity and signing key from files, in a process
// of its own, so that the node that uses them holds no private key.
//
// Settings: ca (roots; a file or folder), crls, cert, key, signing-key (paths; several of ca and crls are
// separated as in PATH), poll (as "30s"), strict ("true": refuse a key that others can read). Secrets:
// passphrase (of key), signing-passphrase (of signing-key). A role whose paths are not set is not offered.
package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func main() { server.Serve() }

var server = &plugin.Server{
	Name:      "file",
	Configure: configure,
	Validate: func(s plugin.Settings) error {
		_, err := configure(context.Background(), s)
		return err
	},
}

// configure makes the providers. It opens nothing.
func configure(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
	var p plugin.Providers
	if err := s.Only("ca", "crls", "cert", "key", "signing-key", "poll", "strict", "passphrase", "signing-passphrase"); err != nil {
		return p, err
	}
	poll, strict, err := options(s)
	if err != nil {
		return p, err
	}
	for _, name := range []string{"ca", "crls", "cert", "key", "signing-key"} {
		for _, path := range filepath.SplitList(s.Values[name]) {
			if !filepath.IsAbs(path) { // a plugin does not run where its host does
				return p, &sdk.ConfigError{Field: name, Err: fmt.Errorf("%q is not absolute", path)}
			}
		}
	}
	log := plugin.Logger(ctx)
	if ca := s.Values["ca"]; ca != "" {
		t := &file.Trust{
			Paths: filepath.SplitList(ca), CRLs: filepath.SplitList(s.Values["crls"]), Poll: poll, Logger: log,
		}
		if err := t.Validate(); err != nil {
			return p, err
		}
		p.Trust = t
	}
	if cert := s.Values["cert"]; cert != "" {
		i := &file.Identity{
			Cert: cert, Key: s.Values["key"], Passphrase: passphrase(s, "passphrase"), Strict: strict, Poll: poll, Logger: log,
		}
		if err := i.Validate(); err != nil {
			return p, err
		}
		p.Identity = i
	}
	if path := s.Values["signing-key"]; path != "" {
		k := &file.Key{
			Path: path, Passphrase: passphrase(s, "signing-passphrase"), Strict: strict, Poll: poll, Logger: log,
		}
		if err := k.Validate(); err != nil {
			return p, err
		}
		p.Key = k
	}
	if p.Trust == nil && p.Identity == nil && p.Key == nil {
		return p, fmt.Errorf("%w: set ca, cert or signing-key", sdk.ErrConfig)
	}
	return p, nil
}

func options(s plugin.Settings) (poll time.Duration, strict bool, err error) {
	if v := s.Values["poll"]; v != "" {
		if poll, err = time.ParseDuration(v); err != nil {
			return 0, false, &sdk.ConfigError{Field: "poll", Err: fmt.Errorf("%q is no duration; write it as \"30s\"", v)}
		}
	}
	if v := s.Values["strict"]; v != "" {
		if strict, err = strconv.ParseBool(v); err != nil {
			return 0, false, &sdk.ConfigError{Field: "strict", Err: fmt.Errorf("%q is neither true nor false", v)}
		}
	}
	return poll, strict, nil
}

// passphrase hands a secret of the settings to package file; nil where there is none.
func passphrase(s plugin.Settings, name string) file.Passphrase {
	secret, ok := s.Secrets[name]
	if !ok {
		return nil
	}
	return func(context.Context) ([]byte, error) { return []byte(secret), nil }
}
