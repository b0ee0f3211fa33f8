package sdktest

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
)

// MeshTB is the part of testing.TB that Mesh needs.
type MeshTB interface {
	TB
	Cleanup(func())
}

// MeshOptions change what Mesh makes. The zero value is the default of everything.
type MeshOptions struct {
	// Writes is W. Default quorum.Majority.
	Writes int
	// Unsigned leaves the signing keys out.
	Unsigned bool
	// Inbound is the application of node i. Default: it keeps what it is given (MeshNode.Received).
	Inbound func(i int) sdk.Inbound
	// Listen opens the listener of node i, at the same address each time. Default: on loopback.
	Listen func(i int) (net.Listener, error)
	// Leaf changes the certificate of node i before it is issued.
	Leaf func(i int, leaf *Leaf)
	// Prepare is called once, when all nodes have addresses and none is built.
	Prepare func(mesh *MeshNetwork)
	// Configure changes the Builder of node i before it is built. Its Quorum.AckTimeout is 30 s, for machines that
	// are busy with other tests; what a shorter one does, a test has to ask for.
	Configure func(i int, b *sdk.Builder)
}

// A MeshNetwork is a federation of nodes in this process, each with a server of its own on loopback.
type MeshNetwork struct {
	CA    *CA
	Nodes []*MeshNode
}

// A MeshNode is one node. Its ID, and the name in its certificate, is "node-0.mesh", "node-1.mesh", …; its peers know
// it by the name "node-0", "node-1", ….
type MeshNode struct {
	*sdk.Federation
	Identity   *Issued
	SigningKey ed25519.PublicKey // nil with MeshOptions.Unsigned
	URL        string

	listen   func() (net.Listener, error)
	inbound  sdk.Inbound
	mu       sync.Mutex
	key      signer.Key
	received []sdk.Delivery
	server   *http.Server
	serving  chan struct{}
	fail     error
}

// meshPatience is the AckTimeout and the ConnectTimeout of a mesh: a test that runs on a busy machine is no failure.
const meshPatience = 30 * time.Second

// Mesh starts n nodes that federate with one another: a certificate authority, certificates, signing keys and mTLS
// servers, all of which the end of the test takes down.
//
//	mesh := sdktest.Mesh(t, 3)
//	result, err := mesh.Nodes[0].Push(ctx, sdk.Message{Body: []byte("x")})
func Mesh(t MeshTB, n int, options ...MeshOptions) *MeshNetwork {
	t.Helper()
	var o MeshOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.Writes == 0 {
		o.Writes = quorum.Majority
	}
	mesh := &MeshNetwork{CA: NewCA(t)}
	listeners := make([]net.Listener, n)
	for i := range n {
		l, err := o.listen(i)
		if err != nil {
			t.Fatalf("sdktest: %v", err)
		}
		listeners[i] = l
		node := &MeshNode{listen: func() (net.Listener, error) { return o.again(i, l.Addr().String()) }, URL: "https://" + l.Addr().String()}
		leaf := Leaf{DNS: []string{meshName(i)}}
		if o.Leaf != nil {
			o.Leaf(i, &leaf)
		}
		node.Identity = mesh.CA.Issue(t, leaf)
		node.inbound = sdk.Inbound{Apply: node.apply}
		if o.Inbound != nil {
			node.inbound = o.Inbound(i)
		}
		mesh.Nodes = append(mesh.Nodes, node)
	}
	if o.Prepare != nil {
		o.Prepare(mesh)
	}
	for i, node := range mesh.Nodes {
		b := sdk.Builder{
			Trust:    meshProvider{mesh: mesh},
			Identity: meshProvider{node: node},
			Quorum:   quorum.Policy{Writes: o.Writes, AckTimeout: meshPatience},
		}
		b.Transport.ConnectTimeout = meshPatience
		if !o.Unsigned {
			node.newKey(t)
			b.Key = meshProvider{node: node}
		}
		for j, other := range mesh.Nodes {
			if j != i {
				b.Peers = append(b.Peers, sdk.Peer{Name: fmt.Sprintf("node-%d", j), ID: meshName(j), URL: other.URL, ServerName: meshName(j)})
			}
		}
		if o.Configure != nil {
			o.Configure(i, &b)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		f, err := b.Build(ctx)
		cancel()
		if err != nil {
			t.Fatalf("sdktest: node %d: %v", i, err)
		}
		node.Federation = f
		t.Cleanup(func() { _ = f.Close() })
	}
	for i, node := range mesh.Nodes {
		node.serve(listeners[i])
		t.Cleanup(node.Stop)
	}
	return mesh
}

func (o *MeshOptions) listen(i int) (net.Listener, error) {
	if o.Listen != nil {
		return o.Listen(i)
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// again opens the listener of node i once more.
func (o *MeshOptions) again(i int, addr string) (net.Listener, error) {
	if o.Listen != nil {
		return o.Listen(i)
	}
	return net.Listen("tcp", addr)
}

// A meshProvider gives a node what it was made with.
type meshProvider struct {
	mesh *MeshNetwork
	node *MeshNode
}

func (p meshProvider) TrustBundle(context.Context) (*sdk.TrustBundle, error) {
	return &sdk.TrustBundle{Roots: []*x509.Certificate{p.mesh.CA.Certificate}}, nil
}

func (p meshProvider) Identity(context.Context) (*sdk.Identity, error) {
	return &sdk.Identity{Certificate: p.node.Identity.TLS}, nil
}

func (p meshProvider) SigningKeys(context.Context) (*sdk.KeySet, error) {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return &sdk.KeySet{Active: p.node.key}, nil
}

func meshName(i int) string { return fmt.Sprintf("node-%d.mesh", i) }

// newKey gives the node another signing key, of which its Federation learns when it asks.
func (n *MeshNode) newKey(t TB) {
	private := Ed25519(t)
	key, err := signer.KeyOf(private)
	if err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.key, n.SigningKey = key, private.Public().(ed25519.PublicKey)
}

// RotateSigningKey gives the node another signing key and waits until it is in service.
func (n *MeshNode) RotateSigningKey(t TB) {
	t.Helper()
	n.newKey(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Refresh(ctx); err != nil {
		t.Fatalf("sdktest: %v", err)
	}
}

// Received returns what the node's application was given so far, unless MeshOptions.Inbound is set.
func (n *MeshNode) Received() []sdk.Delivery {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.received)
}

// Refuse makes the node's application refuse messages with err from now on; nil makes it take them again.
func (n *MeshNode) Refuse(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}

func (n *MeshNode) apply(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return 0, n.fail
	}
	n.received = append(n.received, d)
	return sdk.Applied, nil
}

// Stop takes the node's server down at once, connections included. Its Federation still sends.
func (n *MeshNode) Stop() {
	n.mu.Lock()
	server, serving := n.server, n.serving
	n.server = nil
	n.mu.Unlock()
	if server != nil {
		_ = server.Close()
		<-serving
	}
}

// Start serves again, at the same address, after Stop. What the node remembered of messages is forgotten, as after a
// restart.
func (n *MeshNode) Start(t TB) {
	t.Helper()
	l, err := n.listen()
	if err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	n.serve(l)
}

func (n *MeshNode) serve(l net.Listener) {
	server, serving := n.Server(n.Handler(n.inbound)), make(chan struct{})
	n.mu.Lock()
	n.server, n.serving = server, serving
	n.mu.Unlock()
	go func() {
		defer close(serving)
		if err := server.Serve(n.Listener(l)); !errors.Is(err, http.ErrServerClosed) {
			_ = l.Close()
		}
	}()
}
