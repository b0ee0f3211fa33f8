// Package sdk joins a node to a federation of servers that it does not own.
//
// A Builder says where trust comes from, where the node's identity comes from, where its signing key lives and
// who the peers are. Build makes a Federation of them: the validated list of peers, the quorum policy, and one
// shared mutual-TLS transport that follows every rotation of certificates, keys and roots without a restart and
// without a failed request.
//
//	fed, err := sdk.Builder{
//		Trust:    &file.Trust{Path: "ca.pem"},
//		Identity: &file.Identity{Cert: "node.pem", Key: "node-key.pem"},
//		Key:      &file.Key{Path: "node.ed25519"},
//		Peers:    []sdk.Peer{{URL: "https://b.example:9077"}, {URL: "https://c.example:9077"}},
//		Quorum:   quorum.Policy{Writes: 2},
//	}.Build(ctx)
//	if err != nil {
//		return err
//	}
//	defer fed.Close()
//
// A node serves Handler, by Server or another server: there peers push to it and, before they take anything that it
// has signed, fetch its keys. Then Push sends to all.
//
// Providers are one method each: TrustProvider, IdentityProvider, KeyProvider. The folders under providers/ have
// those for files, Vault and step-ca; package sdk/plugin runs one in another process and language; TrustFunc,
// IdentityFunc and KeyFunc make one of a function. The package does the rest: scheduling, backoff, keeping the
// last good material, telling of changes.
//
// The package reads no environment, logs nothing unless it is given a Logger, keeps no global state, and never
// closes a provider.
package sdk
