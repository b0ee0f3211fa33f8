// Package plugin puts a provider into a process of its own, in any language, behind gRPC: the three roles
// of package sdk, its errors, and its conformance suites, with the private key never on the socket.
//
// A node that uses a plugin opens it and takes the roles that it has:
//
//	p, err := plugin.Open(ctx, plugin.Config{
//		Path:     "/usr/libexec/our-pki",
//		SHA256:   "9f86d081…",
//		Settings: map[string]string{"url": "https://pki.example"},
//		Secrets:  map[string]plugin.Secret{"token": token},
//	})
//	…
//	defer p.Close()
//	trust, err := p.Trust()
//	identity, err := p.Identity()
//	key, err := p.Key()
//
// An author of a plugin writes one function from settings to providers:
//
//	func main() {
//		plugin.Serve(func(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
//			return plugin.Providers{Trust: &file.Trust{Path: s.Values["ca"]}}, nil
//		})
//	}
//
// The process is what the digest says and nothing else: a verified copy is executed, with an empty
// environment. It dies with the host, as does what it starts, unless that leaves its process group. It is
// watched, and restarted when it exits or hangs; meanwhile callers get the last good material, and a
// signature waits for the next process within its deadline. What it answers is hostile until checked: sizes,
// encodings, chain, key, extended key usage, and every signature.
//
// The package never hands a private key over the socket, never passes the host's environment on, and never
// gives up on a plugin that worked once: Status says Degraded until it works again.
package plugin
