// Command receiver is the smallest server side of a federation: it takes messages from its peers and prints
// them. What it answers to each is signed with the node's key.
//
//	receiver -peer https://a.example:9077 [-listen :9077] [-dir .]
//
// The folder holds ca.pem, node.pem, node-key.pem and node.ed25519.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"path/filepath"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

func main() {
	listen := flag.String("listen", ":9077", "address to serve at")
	dir := flag.String("dir", ".", "folder with ca.pem, node.pem, node-key.pem and node.ed25519")
	peer := flag.String("peer", "", "base URL of the peer")
	flag.Parse()

	fed, err := sdk.Builder{
		Trust:    &file.Trust{Path: filepath.Join(*dir, "ca.pem")},
		Identity: &file.Identity{Cert: filepath.Join(*dir, "node.pem"), Key: filepath.Join(*dir, "node-key.pem")},
		Key:      &file.Key{Path: filepath.Join(*dir, "node.ed25519")},
		Peers:    []sdk.Peer{{URL: *peer}},
		Quorum:   quorum.Policy{Writes: 1},
	}.Build(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer fed.Close()

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("%s serves at %s", fed.ID(), listener.Addr())
	log.Fatal(fed.Server(fed.Handler(sdk.Inbound{Apply: apply})).ServeTLS(listener, "", ""))
}

// apply is the application: it returns once a message is where it is safe.
func apply(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
	fmt.Printf("%s from %s: %s\n", d.Operation, d.Peer.Name, d.Body)
	return sdk.Applied, nil
}
