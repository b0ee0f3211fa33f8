// Command plugin-go is a plugin for a small certificate authority (examples/plugin-go/ca): it enrols, renews
// before the certificate ends, and keeps its keys and its chain in a folder, so that a new process is the same node.
//
// Settings: url and root-sha256 of the authority, name (a DNS name for the certificate), state (a folder of
// the plugin's own, absolute). Secret: token.
//
//	go run ./examples/plugin-go/ca &
//	go build -o our-pki ./examples/plugin-go
//	go run ./sdk/plugin/plugincheck -set url=… -set root-sha256=… -secret token=… \
//		-set name=a.example -set state=/var/lib/our-pki -- ./our-pki
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/signer"
)

func main() {
	(&plugin.Server{Name: "small-ca", Version: "1.0.0", Configure: configure, Validate: validate}).Serve()
}

// validate says whether the settings can work. It changes nothing and contacts nobody.
func validate(s plugin.Settings) error {
	if err := s.Only("url", "root-sha256", "name", "state", "token"); err != nil {
		return err
	}
	for _, name := range []string{"url", "root-sha256", "name", "state"} {
		if s.Values[name] == "" {
			return &sdk.ConfigError{Field: name, Err: errors.New("not set")}
		}
	}
	if u, err := url.Parse(s.Values["url"]); err != nil || u.Scheme != "https" || u.Host == "" {
		return &sdk.ConfigError{Field: "url", Err: errors.New("no https URL")}
	}
	if state := s.Values["state"]; !filepath.IsAbs(state) {
		return &sdk.ConfigError{Field: "state", Err: fmt.Errorf("%q is not absolute", state)}
	}
	if strings.ContainsFunc(tokenOf(s), func(r rune) bool { return r < '!' || r > '~' }) {
		return &sdk.ConfigError{Field: "token", Err: errors.New("it has a space, or a character that is not visible ASCII")}
	}
	return nil
}

// tokenOf returns the token, which may come from a file that ends in a line break.
func tokenOf(s plugin.Settings) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(s.Secrets["token"]), "\n"), "\r")
}

// configure makes the providers. It contacts nobody: that is for the first pull.
func configure(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
	if err := validate(s); err != nil {
		return plugin.Providers{}, err
	}
	state := s.Values["state"]
	if err := os.MkdirAll(state, 0o700); err != nil {
		return plugin.Providers{}, &sdk.ConfigError{Field: "state", Err: err}
	}
	n := &node{
		ca:    &authority{url: s.Values["url"], sha256: strings.ToLower(s.Values["root-sha256"]), token: tokenOf(s)},
		name:  s.Values["name"],
		state: state,
	}
	plugin.Logger(ctx).Info("configured", "url", n.ca.url, "name", n.name)
	return plugin.Providers{Trust: trust{n}, Identity: identity{n}, Key: key{n}, Close: n.ca.close}, nil
}

// A node is what all three roles share.
type node struct {
	ca    *authority
	name  string
	state string

	mu     sync.Mutex
	issued *issued // the last chain
}

type (
	trust    struct{ *node }
	identity struct{ *node }
	key      struct{ *node }
)

// TrustBundle returns the authority's root.
func (t trust) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	root, err := t.ca.root(ctx)
	if err != nil {
		return nil, err
	}
	return &sdk.TrustBundle{Roots: []*x509.Certificate{root}}, nil
}

// Identity returns the certificate, and enrols when two thirds of its life are over.
func (i identity) Identity(ctx context.Context) (*sdk.Identity, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	private, err := load(i.node, "tls.pem", newECDSA)
	if err != nil {
		return nil, err
	}
	if i.issued == nil || !i.issued.of(private) {
		i.issued = i.kept(ctx, private) // the first time, or another key is there
	}
	if i.issued == nil || !time.Now().Before(i.issued.renew) {
		if err := i.enrol(ctx, private); err != nil {
			return nil, err
		}
	}
	return &sdk.Identity{Certificate: i.issued.cert, RefreshAfter: max(time.Until(i.issued.renew), time.Second)}, nil
}

// enrol has another chain issued. While that fails the one of before serves on. The caller holds mu.
func (i identity) enrol(ctx context.Context, private *ecdsa.PrivateKey) error {
	cert, err := i.ca.enrol(ctx, private, i.name)
	if err == nil {
		i.issued = issue(cert)
		i.keep(ctx)
		return nil
	}
	now := time.Now()
	if i.issued == nil || now.After(i.issued.cert.Leaf.NotAfter) {
		return err
	}
	// Not at once, and not when every other node does.
	wait := min(time.Minute, i.issued.cert.Leaf.NotAfter.Sub(now)/10)
	i.issued.renew = now.Add(wait/2 + rand.N(wait/2+1))
	plugin.Logger(ctx).Warn("cannot renew; the certificate of before serves on", "error", err)
	return nil
}

// SigningKeys returns the key that is kept in the state folder.
func (k key) SigningKeys(context.Context) (*sdk.KeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	private, err := load(k.node, "message.pem", newEd25519)
	if err != nil {
		return nil, err
	}
	active, err := signer.KeyOf(private)
	if err != nil {
		return nil, err
	}
	return &sdk.KeySet{Active: active}, nil
}
