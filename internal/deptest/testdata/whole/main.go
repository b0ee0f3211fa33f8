// Whole is a small program that uses sdk and providers/file: what the library adds to bare.
package main

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

func main() {
	fed, err := sdk.Builder{
		Trust:    &file.Trust{Path: "ca.pem"},
		Identity: &file.Identity{Cert: "node.pem", Key: "node-key.pem"},
		Key:      &file.Key{Path: "node.ed25519"},
		Peers:    []sdk.Peer{{URL: "https://b.example:9077"}, {URL: "https://c.example:9077"}},
		Quorum:   quorum.Policy{Writes: 2},
	}.Build(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fed.Close()
	resp, err := fed.Client().Get("https://b.example:9077/")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.Status)
	_ = resp.Body.Close()
}
