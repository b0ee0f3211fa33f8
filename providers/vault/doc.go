// Package vault takes a federation's trust, identity and signatures from HashiCorp Vault: roots and CRLs
// from the PKI secrets engine, the node's certificate from a PKI role, and message signatures from an
// Ed25519 key that never leaves Transit.
//
// One Client holds one login; the three providers share it:
//
//	v := vault.New(vault.Config{
//		Address: "https://vault.example:8200",
//		Auth:    &vault.AppRole{RoleID: "…", SecretIDFile: "/run/secrets/secret-id"},
//	})
//	fed, err := sdk.Builder{
//		Trust:    v.Trust(vault.TrustOptions{Mounts: []string{"pki"}}),
//		Identity: v.Identity(vault.IdentityOptions{Mount: "pki", Role: "node", DNS: []string{"a.example"}}),
//		Key:      v.Key(vault.KeyOptions{Name: "node-a"}),
//		…
//	}.Build(ctx)
//
// Nothing is contacted before the first pull. A Vault that is sealed, standby, rate-limited, slow or gone
// delays a renewal and no more: every such answer is ErrUnavailable, with Vault's own Retry-After where
// it gave one, and what was pulled before stays valid. A refusal is ErrPermission, a dead token that
// nothing can replace is ErrExpired, and what no retry can cure (a role, mount or key type that does not
// exist or does not fit) is ErrConfig.
//
// The package never lets Vault make a private key for TLS, never asks it to sign outside a role, never
// uses a certificate or signature that it has not checked against what was asked for, and never puts a
// token or secret-id into an error or a log line. It takes nothing from the environment unless
// ConfigFrom is asked to.
package vault
