// Command federation-vault is the Vault provider as a plugin: trust, identity and signatures from Vault, in
// a process of its own that holds the login. It is started by a node, which configures it:
//
//	p, err := plugin.Open(ctx, plugin.Config{
//		Path:   "/usr/libexec/federation-vault",
//		SHA256: "…",
//		Settings: map[string]string{
//			"address": "https://vault.example:8200", "ca": "/etc/vault-ca.pem",
//			"role-id": "…", "secret-id-file": "/run/secrets/secret-id",
//			"trust": "pki", "role": "node", "dns": "a.example", "key": "node-a",
//		},
//	})
//
// Settings, all optional but address:
//
//	address, namespace, login-namespace, ca (a PEM file), server-name, timeout
//	token-file                                     log in with a token in a file
//	role-id, secret-id-file, approle, wrapped      log in by AppRole (approle: its mount)
//	kubernetes-role, kubernetes, service-account   log in by Kubernetes (its mount, the token's file)
//	jwt-role, jwt, jwt-file                        log in by JWT (its mount, the token's file)
//	trust (mounts), issuers, crls                  the trust role
//	role, pki, issuer, dns, uris, ips, ttl         the identity role
//	key, transit, announce, overlap, export        the key role
//	refresh                                        how often Vault is asked for changes
//
// Lists are separated by commas, durations are Go's, and wrapped, crls and export are true or false. The
// secrets "token" and "secret-id" stand for what token-file and secret-id-file hold.
package main

import "github.com/alphaonedev/federation/sdk/plugin"

func main() {
	(&plugin.Server{Name: "federation-vault", Configure: configure, Validate: validate}).Serve()
}
