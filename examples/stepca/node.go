package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/providers/stepca"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// life is that of certificates. In earnest it is a day. From two thirds of it on they are renewed, and the last third must do
// for that on a machine that is busy.
const life = 30 * time.Second

// A node is one member: its own client of the CA, its own state on disk.
type node struct {
	name     string // "a"
	addr     string
	listener net.Listener // nil: to be opened at addr
	client   *stepca.Client
	fed      *sdk.Federation
	server   *http.Server
	served   chan error

	mu    sync.Mutex
	notes map[string]string
}

func (n *node) serverName() string { return n.name + ".example" }

// join enrols the node, or takes up its state, and serves.
func (n *node) join(ctx context.Context, ca *certAuthority, dir string, peers []*node) error {
	if n.listener == nil {
		l, err := net.Listen("tcp", n.addr)
		if err != nil {
			return err
		}
		n.listener = l
	}
	n.client = stepca.New(stepca.Config{
		URL: ca.URL, Fingerprint: ca.Fingerprint(), StateDir: filepath.Join(dir, n.name), Timeout: 5 * time.Second,
	})
	identity := n.client.Identity(stepca.IdentityConfig{
		Names:     []string{n.serverName()},
		Enrolment: stepca.JWK{Provisioner: stepcatest.Nodes, Password: password},
		Lifetime:  life,
		Rekey:     true,
	})
	b := sdk.Builder{
		Trust:    n.client.Trust(stepca.TrustConfig{}),
		Identity: identity,
		Key: n.client.Key(stepca.KeyConfig{ // no password: the node's certificate vouches
			Names: []string{n.serverName()}, Enrolment: stepca.X5C{Provisioner: stepcatest.Vouch, From: identity},
		}),
		Quorum: quorum.Policy{Writes: quorum.Majority, AckTimeout: 10 * time.Second}, // for a machine that is busy, too
	}
	for _, p := range peers {
		if p != n {
			b.Peers = append(b.Peers, sdk.Peer{Name: p.name, URL: "https://" + p.addr, ServerName: p.serverName()})
		}
	}
	var err error
	if n.fed, err = b.Build(ctx); err != nil {
		return err
	}
	n.server = n.fed.Server(n.fed.Handler(sdk.Inbound{Apply: n.apply}))
	n.served = make(chan error, 1)
	server, listener, served := n.server, n.fed.Listener(n.listener), n.served
	go func() { served <- server.Serve(listener) }()
	return nil
}

// password is read wherever a node keeps secrets.
func password(context.Context) ([]byte, error) { return []byte(stepcatest.Password), nil }

// apply takes a note that a peer pushed.
func (n *node) apply(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, have := n.notes[d.Operation]; have {
		return quorum.Noop, nil
	}
	if n.notes == nil {
		n.notes = map[string]string{}
	}
	n.notes[d.Operation] = string(d.Body)
	return quorum.Applied, nil
}

func (n *node) leave(ctx context.Context) error {
	if n.listener != nil {
		defer n.listener.Close()
		n.listener = nil
	}
	if n.fed == nil {
		return nil
	}
	fed := n.fed
	n.fed = nil
	if n.server != nil {
		if err := n.server.Shutdown(ctx); err != nil {
			return err
		}
		<-n.served
	}
	if err := fed.Shutdown(ctx); err != nil {
		return err
	}
	return n.client.Close()
}
