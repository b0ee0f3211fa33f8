package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/providers/stepca"
	"github.com/alphaonedev/federation/providers/stepca/stepcaplugin"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// life is that of certificates. In earnest it is a day. From two thirds of it on they are renewed, and the last third must do
// for that on a machine that is busy, where a plugin takes its time to start.
const life = 45 * time.Second

// A node is one member of the federation.
type node struct {
	name     string
	addr     string
	listener net.Listener
	plugin   *plugin.Plugin // of c
	fed      *sdk.Federation
	server   *http.Server
	close    []func() error // last one first
}

func domain(name string) string { return name + ".example" }

// join makes the providers of a node, builds its federation and serves it.
func (n *node) join(ctx context.Context, s *story) error {
	trust, identity, err := n.stepca(ctx, s)
	if err != nil {
		return err
	}
	roleID, secretID, err := s.vault.login(ctx, n.name)
	if err != nil {
		return err
	}
	v := vault.New(vault.Config{Address: s.vault.address, Auth: &vault.AppRole{RoleID: roleID, SecretID: secretID}})
	n.close = append(n.close, v.Close)

	b := sdk.Builder{
		Trust:    sdk.JoinTrust(trust, v.Trust(vault.TrustOptions{Mounts: []string{"pki"}})),
		Identity: identity,
		Key:      v.Key(vault.KeyOptions{Name: n.name, Announce: time.Second, RefreshAfter: time.Second}),
		Quorum:   quorum.Policy{Writes: 3, AckTimeout: 10 * time.Second}, // all three, so that every node is in every write
	}
	for _, p := range s.nodes {
		if p != n {
			b.Peers = append(b.Peers, sdk.Peer{Name: p.name, URL: "https://" + p.addr, ServerName: domain(p.name)})
		}
	}
	if n.fed, err = b.Build(ctx); err != nil {
		return err
	}
	n.close = append(n.close, n.fed.Close)
	n.server = n.fed.Server(n.fed.Handler(sdk.Inbound{
		Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) { return sdk.Applied, nil },
	}))
	served := make(chan error, 1)
	server, listener := n.server, n.fed.Listener(n.listener)
	go func() { served <- server.Serve(listener) }()
	n.close = append(n.close, func() error { err := server.Close(); <-served; return err })
	return nil
}

// stepca gives trust and identity: in the node's process, or for c through a plugin.
func (n *node) stepca(ctx context.Context, s *story) (sdk.TrustProvider, sdk.IdentityProvider, error) {
	state := filepath.Join(s.dir, n.name)
	if n.name != "c" {
		client := stepca.New(stepca.Config{URL: s.ca.URL, Fingerprint: s.ca.Fingerprint(), StateDir: state})
		n.close = append(n.close, client.Close)
		return client.Trust(stepca.TrustConfig{}), client.Identity(stepca.IdentityConfig{
			Names: []string{domain(n.name)}, Enrolment: stepca.JWK{Provisioner: stepcatest.Nodes, Password: password}, Lifetime: life, Rekey: true,
		}), nil
	}
	digest, err := sha256Of(s.self)
	if err != nil {
		return nil, nil, err
	}
	n.plugin, err = plugin.Open(ctx, plugin.Config{
		Path: s.self, Args: []string{"plugin"}, SHA256: digest,
		Settings: map[string]string{
			stepcaplugin.URL: s.ca.URL, stepcaplugin.Fingerprint: s.ca.Fingerprint(), stepcaplugin.StateDir: state,
			stepcaplugin.Names: domain(n.name), stepcaplugin.Provisioner: stepcatest.Nodes,
			stepcaplugin.Lifetime: life.String(), stepcaplugin.Rekey: "true",
		},
		Secrets: map[string]plugin.Secret{stepcaplugin.Password: stepcatest.Password},
		Limits:  plugin.Limits{Start: time.Minute},
	})
	if err != nil {
		return nil, nil, err
	}
	n.close = append(n.close, n.plugin.Close)
	trust, err := n.plugin.Trust()
	if err != nil {
		return nil, nil, err
	}
	identity, err := n.plugin.Identity()
	return trust, identity, err
}

func (n *node) end() {
	for i := len(n.close) - 1; i >= 0; i-- {
		_ = n.close[i]()
	}
	n.close = nil
	_ = n.listener.Close()
}

// password is read wherever a node keeps secrets.
func password(context.Context) ([]byte, error) { return []byte(stepcatest.Password), nil }

func sha256Of(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}
