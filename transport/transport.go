package transport

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Transport is an http.RoundTripper to the configured peers. It is safe for concurrent use. Close it.
type Transport struct {
	opts Options
}

var _ http.RoundTripper = (*Transport)(nil)

// New returns a Transport without material: until the first Update every request fails with ErrClosed's
// opposite, ErrUnavailable. Its error wraps ErrConfig and names the option.
func New(opts Options) (*Transport, error) {
	return &Transport{opts: opts}, nil
}

// Update puts m in force. Trust, peers and distrusted keys hold when it returns, for every connection there is.
// If the identity is another than before, Update also handshakes a connection for each one that is open, and
// then moves new requests to them; ctx and Options.WarmTimeout bound this, and when they end the new identity
// serves with what is ready. The first Update dials nothing: see Warm.
//
// An error wraps ErrMaterial or ErrConfig and names what it found; the material before stays in force, all of
// it. Concurrent calls take effect in the order in which they began.
func (t *Transport) Update(ctx context.Context, m Material) error { return fault.ErrUnsupported }

// Warm handshakes a connection in the quorum lane to every peer that has none, and returns when all have
// answered or failed, or ctx ends. The error joins an *Error for each peer that failed. Without Warm, a peer's
// first request dials.
func (t *Transport) Warm(ctx context.Context) error { return fault.ErrUnsupported }

// RoundTrip sends req to the peer whose URL is a prefix of its own, and fails with an *Error otherwise. It does
// not change req, closes its body in every case, and follows nothing.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return nil, &Error{Op: "route", Kind: KindOther, Err: fault.ErrUnsupported}
}

// Listener returns a listener whose connections are *tls.Conn with ServerTLS, as http.Server.Serve wants them.
// It closes l with itself. A change of trust closes the connections that fail, in the middle of a request if
// need be. It needs an identity by the time of a handshake.
func (t *Transport) Listener(l net.Listener) net.Listener { return l }

// Track returns a listener whose connections are those of l, known to t. It is for servers that do TLS
// themselves with ServerTLS (gRPC).
func (t *Transport) Track(l net.Listener) net.Listener { return l }

// ServerTLS returns a configuration for servers. It follows every Update, and accepts only certificates that
// identify exactly one configured peer under that peer's own trust. Its connections must come from Track, and
// are refused otherwise, because no change of trust could close them.
func (t *Transport) ServerTLS() *tls.Config { return nil }

// ClientTLS returns a configuration for TLS connections to the named peer: the same checks and the same identity
// as RoundTrip's, following every Update. A change of trust does not close a connection made with it; for that,
// use Dial. The error wraps ErrConfig if there is no such peer.
func (t *Transport) ClientTLS(peer string) (*tls.Config, error) { return nil, fault.ErrUnsupported }

// Dial returns a handshaken TLS connection to the named peer that speaks one of the application protocols, outside
// any pool. A change of trust closes it if it fails then; a change of identity does not. The caller closes it.
func (t *Transport) Dial(ctx context.Context, peer string, protocols ...string) (*tls.Conn, error) {
	return nil, fault.ErrUnsupported
}

// Identify returns the one peer that the certificate of an inbound connection identifies now: chain, CRLs, names
// and pins are checked again under the trust in force. The error is an *Error of KindRefused.
func (t *Transport) Identify(cs *tls.ConnectionState) (Peer, error) {
	return Peer{}, &Error{Op: "accept", Kind: KindRefused, Err: fault.ErrUnsupported}
}

// Stats returns a copy of all counters.
func (t *Transport) Stats() Stats { return Stats{} }

// Shutdown refuses new requests, waits within ctx until those in flight have ended, and then closes. It returns
// ctx's error if that came first.
func (t *Transport) Shutdown(ctx context.Context) error { return t.Close() }

// Close closes every connection in both directions, ends every request, and waits for all that t started. It may
// be called again.
func (t *Transport) Close() error { return nil }
