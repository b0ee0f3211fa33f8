// A node whose trust and identity are files: what the others are compared with.
package main

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
)

func main() {
	_, err := sdk.Builder{
		Trust: &file.Trust{Path: "ca.pem"}, Identity: &file.Identity{Cert: "node.pem", Key: "node-key.pem"},
	}.Build(context.Background())
	fmt.Println(err)
}
