package sdk

import (
	"crypto"
	"slices"
	"strings"

	"github.com/alphaonedev/federation/signer"
)

// A Peer is a server of the federation that somebody else may own.
type Peer struct {
	// Name labels the peer in metrics, events and errors. Keep it short and of few values. Default:
	// "peer-0", "peer-1", … by position in the list.
	Name string

	// ID is what state that outlives a configuration, such as an outbox, is kept under, and what messages
	// for the peer are addressed to. It must be what the peer calls itself (its Builder.ID or a name in
	// its certificate) if it is set. Default: the normalised URL as the key of state; as the address of
	// messages ServerName or, where IDs are given, the first of them that its certificate has.
	ID string

	// URL is the base of everything the peer serves: https, a host, perhaps a port and a path. No user
	// info, query or fragment.
	URL string

	// ServerName is the name that the peer's certificate must have, outbound and inbound, and the name
	// sent in the TLS handshake. Default: the host of URL.
	ServerName string

	// IDs, where given, are the names of which the certificate must have one instead of ServerName: SPIFFE
	// IDs (spiffe://…) or DNS names. No two peers may share one.
	IDs []string

	// SPKIPins, where given, are SHA-256 digests of the SubjectPublicKeyInfo of certificates of which the
	// peer's leaf must be one, besides passing every other check. Standard base64, with or without the
	// prefix "sha256/", or 64 hexadecimal digits.
	SPKIPins []string

	// Keys, where given, are the Ed25519 keys that the peer signs messages with, and no key directory is
	// asked. Default: the peer's key directory, fetched over mutual TLS.
	Keys []crypto.PublicKey

	// Trust, where given, replaces Builder.Trust for this peer in both directions: its roots vouch for
	// this peer alone, and no other root vouches for it.
	Trust TrustProvider

	// Wire is the profile in which messages are exchanged with the peer, both ways. It is never
	// negotiated. Default: signer.WireFederation.
	Wire signer.Wire
}

// pushPath and the other paths below a peer's base URL.
const (
	pushPath = "/api/v1/sync/push"
	pullPath = "/api/v1/sync/since"
)

// PushURL is where the peer takes messages: {base}/api/v1/sync/push.
func (p Peer) PushURL() string { return strings.TrimSuffix(p.URL, "/") + pushPath }

// PullURL is where the peer hands out what came since a cursor: {base}/api/v1/sync/since.
func (p Peer) PullURL() string { return strings.TrimSuffix(p.URL, "/") + pullPath }

func (p Peer) clone() Peer {
	p.IDs = slices.Clone(p.IDs)
	p.SPKIPins = slices.Clone(p.SPKIPins)
	p.Keys = slices.Clone(p.Keys)
	return p
}

// isURI reports whether a name that a certificate can have is a URI rather than a host.
func isURI(name string) bool { return strings.Contains(name, "://") }

// isPlaintext reports whether nothing protects what goes to a normalised URL.
func isPlaintext(url string) bool { return strings.HasPrefix(url, "http://") }
