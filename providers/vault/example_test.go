package vault_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// A node that takes everything from one Vault, with one login.
func ExampleNew() {
	v := vault.New(vault.Config{
		Address:   "https://vault.example:8200",
		RootsFile: "/etc/node/vault-ca.pem",
		Auth:      &vault.AppRole{RoleID: "8c1c…", SecretIDFile: "/run/secrets/secret-id"},
	})
	defer v.Close()
	fed, err := sdk.Builder{
		Trust:    v.Trust(vault.TrustOptions{Mounts: []string{"pki"}}),
		Identity: v.Identity(vault.IdentityOptions{Role: "node-a", DNS: []string{"a.mesh.example"}, TTL: 24 * time.Hour}),
		Key:      v.Key(vault.KeyOptions{Name: "node-a"}),
		Peers:    []sdk.Peer{{URL: "https://b.mesh.example:9077"}, {URL: "https://c.mesh.example:9077"}},
		Quorum:   quorum.Policy{Writes: quorum.Majority},
	}.Build(context.Background())
	if err != nil {
		log.Print(err)
		return
	}
	defer fed.Close()
}

// A configuration that cannot work is found without contacting anyone.
func ExampleClient_Validate() {
	v := vault.New(vault.Config{Address: "http://vault.example:8200", Auth: &vault.TokenFile{}})
	fmt.Println(v.Validate())
	// Output:
	// vault: Address: "http://vault.example:8200" would send tokens in the clear: use https, or set AllowPlaintext
	// Auth: TokenFile.Path is empty
}

// Only one of two roots of a mount is trusted, and revocations are looked for every minute.
func ExampleClient_Trust() {
	v := vault.New(vault.Config{Address: "https://vault.example:8200"})
	trust := v.Trust(vault.TrustOptions{
		Mounts: []string{"pki"}, Issuers: []string{"mesh-2026"}, RefreshAfter: time.Minute,
	})
	fmt.Println(trust.Validate())
	// Output: <nil>
}

func ExampleClient_Identity() {
	v := vault.New(vault.Config{Address: "https://vault.example:8200", Auth: &vault.Kubernetes{Role: "node"}})
	identity := v.Identity(vault.IdentityOptions{
		Role: "node-a", DNS: []string{"a.mesh.example"}, URIs: []string{"spiffe://mesh.example/a"}, TTL: 24 * time.Hour,
	})
	fmt.Println(identity.Validate())
	// Output: <nil>
}

func ExampleClient_Key() {
	v := vault.New(vault.Config{Address: "https://vault.example:8200", Auth: &vault.TokenFile{Path: "/run/vault/token"}})
	key := v.Key(vault.KeyOptions{Name: "node-a", Announce: 10 * time.Minute})
	fmt.Println(key.Validate())
	// Output: <nil>
}

// The variables that Vault's own tools know are used only when asked for.
func ExampleConfigFrom() {
	cfg, err := vault.ConfigFrom(os.Getenv)
	if err != nil {
		log.Print(err)
		return
	}
	v := vault.New(cfg)
	defer v.Close()
}
