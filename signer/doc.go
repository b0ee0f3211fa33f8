// Package signer says who sent a message, to whom, and that it was sent once.
//
// A message is an HTTP request signed with an Ed25519 key by RFC 9421, under one of two fixed, ordered
// profiles (with and without a body); the body is bound by its SHA-256 digest (RFC 9530). A statement is a
// signed byte string apart from HTTP. docs/wire.md specifies both, byte by byte.
//
// The sender:
//
//	key, err := signer.KeyOf(privateKey)
//	s, err := signer.New(signer.Config{Key: key})
//	err = s.Sign(req, signer.Audience{To: "b.example"}) // once per attempt: a nonce is good for one
//
// The receiver, which knows from TLS which peer it talks to:
//
//	keys, err := signer.NewKeyDirectory(signer.DirectoryConfig{Peers: []signer.DirectoryPeer{{Name: "a", Keys: …}}})
//	v, err := signer.NewVerifier(signer.VerifierConfig{Keys: keys, Recipient: signer.Names("b.example")})
//	verified, err := v.Verify(req, signer.From{Peer: "a", Response: w})
//	if err != nil {
//		signer.WriteRefusal(w, err)
//		return
//	}
//
// What a signature does not cover is not authenticated: header fields other than those of the profile,
// and the response. This package is no general RFC 9421 verifier: it accepts exactly what it makes. It
// negotiates nothing, downgrades nothing, reads nothing without a limit, keeps no private key material
// beyond the Key it was given, and holds no package state.
package signer
