package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

func ExampleBuilder() {
	ctx := context.Background()
	fed, err := sdk.Builder{
		Trust:    &file.Trust{Path: "ca.pem"},
		Identity: &file.Identity{Cert: "node.pem", Key: "node-key.pem"},
		Key:      &file.Key{Path: "node.ed25519"},
		Peers:    []sdk.Peer{{URL: "https://b.example:9077"}, {URL: "https://c.example:9077"}},
		Quorum:   quorum.Policy{Writes: quorum.Majority},
	}.Build(ctx)
	if errors.Is(err, sdk.ErrDisabled) {
		fmt.Println("going on alone:", err)
		return
	}
	if err != nil {
		log.Print(err) // every problem at once, each with its field and its cure
		return
	}
	defer fed.Close()

	server := fed.Server(fed.Handler(sdk.Inbound{Apply: func(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
		fmt.Printf("%s from %s\n", d.Body, d.Peer.Name)
		return sdk.Applied, nil
	}}))
	server.Addr = ":9077"
	go func() { log.Print(server.ListenAndServeTLS("", "")) }() // peers push here, and fetch this node's keys
	defer server.Close()

	result, err := fed.Push(ctx, sdk.Message{Body: []byte("hello")})
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(result.Acked, "of", result.N, "nodes have it")
}

// A federation that is not configured is off, and says how to turn it on.
func ExampleBuilder_Build() {
	_, err := sdk.Builder{Trust: &file.Trust{Path: "ca.pem"}}.Build(context.Background())
	fmt.Println(errors.Is(err, sdk.ErrDisabled))
	// Output: true
}

// Every endpoint that peers call, and not only Handler's, can be verified.
func ExampleFederation_Verify() {
	var fed *sdk.Federation // from Builder.Build
	mux := http.NewServeMux()
	mux.Handle("GET /report", fed.Verify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _ := sdk.PeerFrom(r.Context())
		fmt.Fprintln(w, "hello,", peer.Name)
	})))
	_ = mux
}
