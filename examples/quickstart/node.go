package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// A node is one member of the federation: it holds notes, serves them to its peers, and writes to them.
type node struct {
	listener net.Listener
	fed      *sdk.Federation
	server   *http.Server
	served   chan error
	notes    notes
}

// A member is how nodes find one another.
type member struct {
	Name string // "a"
	Addr string // host:port
}

func (m member) serverName() string { return m.Name + ".example" }

// listen opens the port of a node that has not joined yet.
func listen(addr string) (*node, error) {
	l, err := net.Listen("tcp", addr)
	return &node{listener: l, served: make(chan error, 1)}, err
}

// join builds the federation from the files in dir and serves it.
func (n *node) join(ctx context.Context, dir folder, peers []member) error {
	b := sdk.Builder{
		Trust:    &file.Trust{Path: dir.path("ca.pem")},
		Identity: &file.Identity{Cert: dir.path("node.pem"), Key: dir.path("node-key.pem")},
		Key:      &file.Key{Path: dir.path("node.ed25519")},
		Quorum:   quorum.Policy{Writes: 2},
	}
	for _, p := range peers {
		b.Peers = append(b.Peers, sdk.Peer{Name: p.Name, URL: "https://" + p.Addr, ServerName: p.serverName()})
	}
	fed, err := b.Build(ctx)
	if err != nil {
		return err
	}
	n.fed, n.notes = fed, notes(dir.path("notes"))

	mux := http.NewServeMux()
	mux.Handle("/", fed.Handler(sdk.Inbound{Apply: n.notes.take}))    // what peers push
	mux.Handle("GET /status", fed.Verify(http.HandlerFunc(n.status))) // an endpoint of our own
	n.server = fed.Server(mux)
	go func() { n.served <- n.server.Serve(fed.Listener(n.listener)) }()
	return nil
}

// write stores a note here, and pushes it to the peers. It returns when enough nodes have it.
func (n *node) write(ctx context.Context, text string) (*quorum.Result, error) {
	m := sdk.Message{Operation: rand.Text(), Body: []byte(text), ContentType: "text/plain"}
	if _, err := n.notes.keep(m.Operation, m.Body); err != nil {
		return nil, err
	}
	return n.fed.Push(ctx, m)
}

// A standing is what a node says about itself: how much it holds, and which generations of trust and identity
// it has put into service.
type standing struct {
	Notes           int
	Trust, Identity uint64
}

// later reports a change of trust or identity since.
func (s standing) later(since standing) bool {
	return s.Trust > since.Trust || s.Identity > since.Identity
}

func (n *node) standing() standing {
	s := n.fed.Status()
	return standing{Notes: n.notes.count(), Trust: s.Trust.Generation, Identity: s.Identity.Generation}
}

// status tells peers how this node stands.
func (n *node) status(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(n.standing())
}

// ask fetches the standing of a peer.
func (n *node) ask(ctx context.Context, m member) (standing, error) {
	var s standing
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.Addr+"/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := n.fed.Client().Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s answered %s", m.Name, resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// until asks a peer until its answer is as wanted.
func (n *node) until(ctx context.Context, m member, wanted func(standing) bool) error {
	var s standing
	var problem error
	err := awaits(ctx, func() bool {
		s, problem = n.ask(ctx, m)
		return problem == nil && wanted(s)
	})
	if err != nil {
		return fmt.Errorf("%s says %+v, %v: %w", m.Name, s, problem, err)
	}
	return nil
}

// awaits waits for a condition.
func awaits(ctx context.Context, wanted func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for !wanted() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// leave stops serving and closes the federation.
func (n *node) leave(ctx context.Context) error {
	if n.fed == nil {
		return n.listener.Close()
	}
	if err := n.server.Shutdown(ctx); err != nil {
		return err
	}
	return n.fed.Shutdown(ctx)
}
