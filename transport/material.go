package transport

import (
	"crypto/tls"
	"crypto/x509"
)

// Material is everything that a Transport is told from outside. Update takes a whole one each time. What it
// points to must not be changed afterwards.
type Material struct {
	// Identity is the certificate of this node, leaf first, with its key, which may be any crypto.Signer.
	// The leaf needs the extended key usages of what it does: clientAuth to dial, serverAuth to serve.
	// Nil: requests are sent without a client certificate, and nothing can be served. An OCSPStaple is sent
	// with it in both directions.
	Identity *tls.Certificate
	// Trust is the trust of the peers that have none of their own. It may be nil if every peer has one.
	Trust *Trust
	// Peers are all there are; a peer that is missing here is no peer any more.
	Peers []Peer
	// Distrusted certificates and keys are refused whatever vouches for them: SHA-256 fingerprints, each
	// either of a whole certificate (DER) or of its SubjectPublicKeyInfo. They hold for leaves and
	// intermediates, in both directions.
	Distrusted [][32]byte
}

// Trust is a set of certificate authorities and what they have revoked.
type Trust struct {
	// Roots are trusted to vouch for peers. At least one.
	Roots []*x509.Certificate
	// CRLs (RFC 5280) are enforced for leaves and intermediates. A list is believed only if the issuer it
	// names signed it. A list past its next update stays in force, and says so in an event. Delta and
	// indirect lists are not understood; they are left out, with an event.
	//
	// Besides, an OCSP response (RFC 6960) that comes with a certificate in the handshake and says revoked
	// refuses it, and a server's certificate that promises one (RFC 7633) is refused without one that says
	// good. One that names no next update says good for 7 days. No OCSP responder is ever asked.
	CRLs []*x509.RevocationList
}

// A Peer is one other member. A Transport dials it by URL, and recognises it inbound by its certificate.
type Peer struct {
	// Name appears in events, errors and counters. Default "peer-0", "peer-1", … by position.
	Name string
	// URL is where it answers, "https://b.example:9077"; a path is a prefix of every request's.
	URL string
	// ServerName is the DNS name or IP address that its certificate must hold, and the name sent in the
	// TLS handshake. Default: the host of URL.
	ServerName string
	// IDs, if any, replace ServerName in checks: the certificate must hold one of these URIs (spiffe://…)
	// or DNS names.
	IDs []string
	// SPKIPins, if any, are SHA-256 hashes of SubjectPublicKeyInfo, of which the leaf's must be one, on top
	// of every other check. An inbound certificate with a pinned key needs no name.
	SPKIPins [][32]byte
	// Trust vouches for this peer alone, and nothing else does. Nil: Material.Trust.
	Trust *Trust
}
