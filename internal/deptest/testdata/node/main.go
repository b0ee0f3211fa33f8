// Node is a program that uses most of sdk and providers/file: it pushes, pulls, applies and serves.
package main

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

func main() {
	ctx := context.Background()
	fed, err := sdk.Builder{
		Trust:    &file.Trust{Path: "ca.pem"},
		Identity: &file.Identity{Cert: "node.pem", Key: "node-key.pem"},
		Key:      &file.Key{Path: "node.ed25519"},
		Peers:    []sdk.Peer{{URL: "https://b.example:9077"}, {URL: "https://c.example:9077"}},
		Quorum:   quorum.Policy{Writes: 2},
	}.Build(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fed.Close()
	fmt.Println(fed.Push(ctx, sdk.Message{Body: []byte("hello")}))
	fmt.Println(fed.Pull(ctx, sdk.PullOptions{}, func(context.Context, sdk.Page) error { return nil }))
	fmt.Println(fed.Check(ctx), fed.Status(), fed.Refresh(ctx))
	srv := fed.Server(fed.Handler(sdk.Inbound{
		Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) { return quorum.Applied, nil },
		Pull:  func(context.Context, sdk.PullQuery) (sdk.Page, error) { return sdk.Page{}, nil },
	}))
	srv.Addr = ":9077"
	fmt.Println(srv.ListenAndServeTLS("", ""))
}
