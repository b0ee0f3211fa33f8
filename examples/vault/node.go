package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// A node is one member of the federation. In the example all three share a process; each has a login of its own.
type node struct {
	name     string
	client   *vault.Client
	identity *vault.Identity
	fed      *sdk.Federation
	listener net.Listener
	server   *http.Server
}

// newNode logs in as the node and builds its federation. listeners hold where every node listens.
func newNode(ctx context.Context, s *server, name string, listeners map[string]net.Listener) (*node, error) {
	roleID, wrapped, err := s.credentials(ctx, name)
	if err != nil {
		return nil, err
	}
	n := &node{name: name, listener: listeners[name]}
	n.client = vault.New(vault.Config{
		Address:   s.address,
		RootsFile: s.ca,
		Auth:      &vault.AppRole{Mount: approleMount, RoleID: roleID, SecretID: wrapped, Wrapped: true},
	})
	n.identity = n.client.Identity(vault.IdentityOptions{
		Mount: pkiMount, Role: "federation-" + name, DNS: []string{domain(name)}, TTL: time.Hour,
	})
	var peers []sdk.Peer
	for _, other := range names {
		if other != name {
			peers = append(peers, sdk.Peer{URL: "https://" + listeners[other].Addr().String(), ServerName: domain(other), ID: domain(other)})
		}
	}
	n.fed, err = sdk.Builder{
		Trust:    n.client.Trust(vault.TrustOptions{Mounts: []string{pkiMount}, RefreshAfter: time.Second}),
		Identity: n.identity,
		Key: n.client.Key(vault.KeyOptions{
			Mount: transitMount, Name: "federation-" + name, Announce: time.Second, RefreshAfter: time.Second,
		}),
		Peers:  peers,
		Quorum: quorum.Policy{Writes: quorum.Majority, AckTimeout: 10 * time.Second}, // for a machine that is busy, too
	}.Build(ctx)
	if err != nil {
		_ = n.client.Close()
		return nil, err
	}
	n.server = n.fed.Server(n.fed.Handler(sdk.Inbound{
		Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) { return sdk.Applied, nil },
	}))
	go func() {
		if err := n.server.Serve(n.fed.Listener(n.listener)); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return n, nil
}

func (n *node) close() {
	_ = n.server.Close()
	_ = n.fed.Close()
	_ = n.client.Close()
}
