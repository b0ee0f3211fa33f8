// The same node with step-ca as a plugin.
package main

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func main() {
	p, err := plugin.Open(context.Background(), plugin.Config{Path: "/usr/libexec/federation-stepca"})
	if err != nil {
		fmt.Println(err)
		return
	}
	trust, _ := p.Trust()
	identity, _ := p.Identity()
	_, err = sdk.Builder{Trust: trust, Identity: identity, Key: &file.Key{Path: "node.ed25519"}}.Build(context.Background())
	fmt.Println(err)
}
