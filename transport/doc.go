// Package transport carries HTTP between the members of a federation over mutual TLS, through every change
// of certificates and of trust.
//
//	t, err := transport.New(transport.Options{})
//	…
//	err = t.Update(ctx, transport.Material{
//		Identity: cert,                              // what this node is
//		Trust:    &transport.Trust{Roots: roots},    // whom it believes
//		Peers:    []transport.Peer{{URL: "https://b.example:9077"}},
//	})
//	client := &http.Client{Transport: t}
//
// Update may be called at any time. What is trusted takes effect at once: every live connection, in both
// directions, is checked again, and those that fail are closed in the middle of whatever they do; a root that
// is added closes nothing. What this node is takes effect gently: the next generation of connections is
// dialled and handshaken first, then new requests start on it, and those in flight end on the old one.
//
// A Transport is an http.RoundTripper that speaks to configured peers and to nobody else. One attempt is one
// attempt: a request is written once, after one call of Options.Prepare. It is written again only if it
// provably never left, or if it bears an operation id (WithOperation), and then it is prepared again.
//
// Servers join through Listener, or ServerTLS together with Track; anything else that speaks TLS through Dial
// or ClientTLS.
//
// A Transport never follows a redirect, never speaks to a host that is not a peer, never resumes a session
// across a change of identity, reads no environment, and keeps no global state.
package transport
