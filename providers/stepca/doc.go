// Package stepca takes trust, identity and signing keys from a step-ca certificate authority.
//
// One [Client] knows the CA by its URL and the fingerprint of its root certificate, and nothing else; [Client.Trust],
// [Client.Identity] and [Client.Key] are its three providers:
//
//	ca := stepca.New(stepca.Config{
//		URL:         "https://ca.example:9000",
//		Fingerprint: "8b27…", // step certificate fingerprint root_ca.crt
//		StateDir:    "/var/lib/node/stepca",
//	})
//	defer ca.Close()
//	fed, err := sdk.Builder{
//		Trust: ca.Trust(stepca.TrustConfig{}),
//		Identity: ca.Identity(stepca.IdentityConfig{
//			Names:     []string{"a.example"},
//			Enrolment: stepca.JWK{Provisioner: "nodes", Password: password},
//		}),
//		…
//	}.Build(ctx)
//
// The identity is enrolled once, renewed over mutual TLS at two thirds of its life, and enrolled again only when the
// CA will not renew it. With a StateDir a restart neither enrols again nor needs the CA while what was stored is valid.
//
// The package speaks to the CA through github.com/smallstep/certificates/ca, with a transport, a context and bounds of
// its own. It takes nothing from the machine: no default identity, no STEPPATH, no proxy from the environment. Importing
// that package has two effects that no caller can prevent: a process whose STEP_TLS_TUNNEL or STEP_CLIENT_ADDR is set to
// something unusable panics when it starts. The plugin form, started with an empty environment, is free of it, and of
// the package's weight.
//
// It never sends a key to the CA, never signs messages with the TLS key, and never puts a password, token or key into
// an error or a log line.
package stepca
