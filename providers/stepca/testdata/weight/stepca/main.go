// The same node with step-ca in its own process.
package main

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/providers/stepca"
	"github.com/alphaonedev/federation/sdk"
)

func main() {
	ca := stepca.New(stepca.Config{URL: "https://ca.example:9000"})
	_, err := sdk.Builder{
		Trust:    sdk.TrustProvider(ca.Trust(stepca.TrustConfig{})),
		Identity: ca.Identity(stepca.IdentityConfig{Enrolment: stepca.JWK{}}),
		Key:      &file.Key{Path: "node.ed25519"},
	}.Build(context.Background())
	fmt.Println(err)
}
