package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
)

// Defaults of Options, and what a server should be set to.
const (
	DefaultConnectTimeout = 2 * time.Second
	DefaultIdleTimeout    = 300 * time.Second
	// ServerIdleTimeout is the least http.Server.IdleTimeout for a server whose clients are Transports. It
	// exceeds DefaultIdleTimeout, so that the client closes first and no request meets a closing server.
	ServerIdleTimeout = 330 * time.Second
)

// A Protocol is a version of HTTP.
type Protocol uint8

const (
	// HTTP1 is HTTP/1.1. The default: it costs less CPU for a small message, and a connection that is lost,
	// silent or cut concerns one request.
	HTTP1 Protocol = iota
	// HTTP2 is HTTP/2 where the peer offers it, HTTP/1.1 elsewhere. It needs one connection per peer and
	// lane, which all requests in flight share, for better and for worse.
	HTTP2
)

// Options fix how a Transport works; nothing in them can change later. The zero value is what most want.
type Options struct {
	// Prepare is called once for each attempt, with a request of its own to change, just before it is
	// written; attempt counts from 1. It is where a request is signed. Its error fails the request
	// unwritten. It must be safe for concurrent use.
	Prepare func(req *http.Request, p Peer, attempt int) error
	// Wrap puts a RoundTripper, such as one that traces, around each attempt, outside Prepare. It is called
	// once. What it returns must call the next RoundTripper at most once per request; a second call fails.
	Wrap func(next http.RoundTripper) http.RoundTripper

	// Dial makes TCP connections. Default: a net.Dialer. Keepalive and user timeout are set on what it
	// returns where that is a *net.TCPConn.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy names the egress proxy through which a peer is reached by HTTP CONNECT: an http or https URL,
	// with user and password if it wants them. A nil URL means directly. Default: directly, always.
	Proxy func(p Peer) (*url.URL, error)
	// Protocol is the version of HTTP that is asked for.
	Protocol Protocol
	// AllowPlaintext admits peers with http URLs. Nothing about such a peer is verified.
	AllowPlaintext bool
	// TLS12 admits TLS 1.2, which costs a cold request one round trip more. Default: TLS 1.3 alone.
	TLS12 bool
	// Resumption lets TLS sessions be resumed, never across a change of identity, and never with a server that
	// sends OCSP responses, of which a resumed session brings no new one. Over TCP it saves CPU and no round
	// trip, so it is off by default.
	Resumption bool
	// StrictCRL refuses certificates whose issuer's CRLs are all past their next update by more than
	// CRLGrace. Default: they stay in force, with an event.
	StrictCRL bool
	// CRLGrace is for StrictCRL. Default 24 h.
	CRLGrace time.Duration

	// ConnectTimeout bounds name resolution, TCP, proxy and TLS together. Default 2 s.
	ConnectTimeout time.Duration
	// HandshakeTimeout bounds an inbound TLS handshake. Default 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept. Default 300 s. Servers must keep them longer
	// (ServerIdleTimeout).
	IdleTimeout time.Duration
	// DrainTimeout is how long exchanges on an older generation may take to end. Default 60 s.
	DrainTimeout time.Duration
	// WarmTimeout bounds the warming of a new generation: then it serves, warm or not. Default 3 s.
	WarmTimeout time.Duration
	// MaxConns bounds the connections per peer in the quorum lane, MaxBulkConns in the bulk lane. A request
	// beyond them waits within its context. Defaults 64 and 8.
	MaxConns, MaxBulkConns int
	// MaxAttempts bounds how often a request with an operation id is written. Default 3.
	MaxAttempts int
	// SilenceFloor and SilenceCap bound three times the usual time, after which a request with an operation
	// id is sent again. Defaults 150 ms and 1 s: within an acknowledgement time of 2 s that leaves a fresh
	// connection and an answer at 230 ms of round trip their time. A peer whose usual time is itself beyond the
	// cap gets half as much again as its usual time.
	SilenceFloor, SilenceCap time.Duration
	// SilenceInitial is the time for a peer not heard yet. Default 750 ms.
	SilenceInitial time.Duration
	// MaxResponseHeaderBytes bounds the head of an answer. Default 256 KiB.
	MaxResponseHeaderBytes int64

	// OnEvent is told of every event, synchronously: it must return soon and must not call Update, Shutdown
	// or Close. It must be safe for concurrent use.
	OnEvent func(Event)
	// Logger gets the same as log lines. Nil: silent.
	Logger hclog.Logger
}

// Validate reports what New would refuse: errors.Join of errors that match ErrConfig, each of which names the option and
// the cure.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults returns o with every zero filled in, or every problem at once.
func (o Options) withDefaults() (Options, error) {
	var errs []error
	bad := func(field, why string) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: errors.New(why)})
	}
	for _, d := range []struct {
		field string
		value *time.Duration
		def   time.Duration
	}{
		{"ConnectTimeout", &o.ConnectTimeout, DefaultConnectTimeout},
		{"HandshakeTimeout", &o.HandshakeTimeout, 10 * time.Second},
		{"IdleTimeout", &o.IdleTimeout, DefaultIdleTimeout},
		{"DrainTimeout", &o.DrainTimeout, 60 * time.Second},
		{"WarmTimeout", &o.WarmTimeout, 3 * time.Second},
		{"CRLGrace", &o.CRLGrace, 24 * time.Hour},
		{"SilenceFloor", &o.SilenceFloor, 150 * time.Millisecond},
		{"SilenceCap", &o.SilenceCap, time.Second},
		{"SilenceInitial", &o.SilenceInitial, 750 * time.Millisecond},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
		if *d.value < 0 {
			bad(d.field, fmt.Sprintf("is negative: give a positive time, or 0 for the default of %v", d.def))
		}
	}
	for _, n := range []struct {
		field string
		value *int
		def   int
	}{
		{"MaxConns", &o.MaxConns, 64},
		{"MaxBulkConns", &o.MaxBulkConns, 8},
		{"MaxAttempts", &o.MaxAttempts, 3},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if *n.value < 0 {
			bad(n.field, fmt.Sprintf("is negative: give a positive number, or 0 for the default of %d", n.def))
		}
	}
	if o.MaxResponseHeaderBytes == 0 {
		o.MaxResponseHeaderBytes = 256 << 10
	}
	if o.MaxResponseHeaderBytes < 0 {
		bad("MaxResponseHeaderBytes", "is negative: give a positive number, or 0 for the default of 256 KiB")
	}
	if o.SilenceFloor > o.SilenceCap {
		bad("SilenceFloor", fmt.Sprintf("is %v, more than SilenceCap, which is %v: lower it, or raise SilenceCap", o.SilenceFloor, o.SilenceCap))
	}
	if o.Protocol > HTTP2 {
		bad("Protocol", "is unknown: use HTTP1 or HTTP2")
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	}
	return o, errors.Join(errs...)
}
