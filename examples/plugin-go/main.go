// Command plugin-go is a plugin for a small certificate authority (examples/plugin-go/ca): it enrols, renews
// before the certificate ends, and keeps its keys in a folder, so that a new process is the same node.
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
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/signer"
)

func main() {
	(&plugin.Server{Name: "small-ca", Version: "1.0.0", Configure: configure}).Serve()
}

// configure checks the settings and makes the providers. It contacts nobody: that is for the first pull.
func configure(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
	if err := s.Only("url", "root-sha256", "name", "state", "token"); err != nil {
		return plugin.Providers{}, err
	}
	for _, name := range []string{"url", "root-sha256", "name", "state"} {
		if s.Values[name] == "" {
			return plugin.Providers{}, &sdk.ConfigError{Field: name, Err: fmt.Errorf("not set")}
		}
	}
	state := s.Values["state"]
	if !filepath.IsAbs(state) {
		return plugin.Providers{}, &sdk.ConfigError{Field: "state", Err: fmt.Errorf("%q is not absolute", state)}
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return plugin.Providers{}, &sdk.ConfigError{Field: "state", Err: err}
	}
	n := &node{
		ca:    &authority{url: s.Values["url"], sha256: s.Values["root-sha256"], token: string(s.Secrets["token"])},
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

	mu   sync.Mutex
	cert *tls.Certificate // the last one that was issued
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
	if i.cert != nil && time.Now().Before(renewal(i.cert.Leaf)) {
		return i.current(), nil
	}
	private, err := i.load("tls.key", newECDSA)
	if err != nil {
		return nil, err
	}
	cert, err := i.ca.enrol(ctx, private.(*ecdsa.PrivateKey), i.name)
	if err != nil {
		if i.cert != nil && time.Now().Before(i.cert.Leaf.NotAfter) {
			return i.current(), nil // it serves while the authority is away
		}
		return nil, err
	}
	i.cert = cert
	return i.current(), nil
}

func (n *node) current() *sdk.Identity {
	return &sdk.Identity{Certificate: n.cert, RefreshAfter: max(time.Until(renewal(n.cert.Leaf)), time.Second)}
}

func renewal(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

// SigningKeys returns the key that is kept in the state folder.
func (k key) SigningKeys(context.Context) (*sdk.KeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	private, err := k.load("message.key", newEd25519)
	if err != nil {
		return nil, err
	}
	active, err := signer.KeyOf(private.(ed25519.PrivateKey))
	if err != nil {
		return nil, err
	}
	return &sdk.KeySet{Active: active}, nil
}
