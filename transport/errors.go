package transport

import (
	"context"
	"errors"
	"strings"

	"github.com/alphaonedev/federation/internal/fault"
)

// The sentinels of the module, the same values as in sdk and signer.
var (
	ErrUnavailable = fault.ErrUnavailable
	ErrPermission  = fault.ErrPermission
	ErrConfig      = fault.ErrConfig
	ErrMaterial    = fault.ErrMaterial
	ErrExpired     = fault.ErrExpired
	ErrClosed      = fault.ErrClosed
)

// A Kind is the reason of a failure, from a closed set that is fit for a metric's label.
type Kind uint8

// The kinds of failure, and the sentinel that an Error of each matches.
const (
	KindOther       Kind = iota // anything else
	KindNotPeer                 // the URL belongs to no configured peer; ErrPermission
	KindUnreachable             // no connection: name, route, refused, proxy; ErrUnavailable
	KindTLS                     // the handshake failed, or the peer refused our certificate; ErrUnavailable
	KindRefused                 // the peer's certificate is not acceptable under today's trust; ErrPermission
	KindCut                     // the connection was closed because trust changed; ErrPermission
	KindBroken                  // the connection died during the exchange; ErrUnavailable
	KindTimeout                 // a deadline passed; ErrUnavailable
	KindCanceled                // the caller gave up
	KindPrepare                 // Options.Prepare failed
	KindClosed                  // the Transport is closed or shutting down; ErrClosed

	kinds = int(KindClosed) + 1
)

var kindNames = [kinds]string{
	"other", "not-peer", "unreachable", "tls", "refused", "cut", "broken", "timeout", "canceled", "prepare", "closed",
}

// String returns a lower-case word, such as "unreachable".
func (k Kind) String() string {
	if int(k) < kinds {
		return kindNames[k]
	}
	return kindNames[KindOther]
}

// MarshalText is String: in JSON, a count by kind is one by word.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// An Error is the failure of a request, a dial or a handshake. RoundTrip returns no other type.
type Error struct {
	Peer string // name of the peer; "" if none is concerned
	Op   string // "route", "wait", "dial", "prepare", "exchange", "body" or "accept"
	Kind Kind
	// Written reports whether any byte of the request may have reached the peer. False means that it was
	// certainly not processed; true that nobody knows.
	Written bool
	// Attempts is how many times the request was prepared and given to a connection.
	Attempts int
	Err      error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("transport: ")
	if e.Peer != "" {
		b.WriteString(e.Peer)
		b.WriteString(": ")
	}
	b.WriteString(e.Op)
	b.WriteString(": ")
	if e.Err == nil {
		b.WriteString(e.Kind.String())
	} else {
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error match the sentinel of its kind.
func (e *Error) Is(target error) bool {
	switch e.Kind {
	case KindNotPeer, KindRefused, KindCut:
		return target == fault.ErrPermission
	case KindUnreachable, KindTLS, KindBroken, KindTimeout:
		return target == fault.ErrUnavailable
	case KindClosed:
		return target == fault.ErrClosed
	}
	return false
}

// Timeout reports whether a deadline passed, as net.Error has it.
func (e *Error) Timeout() bool { return e.Kind == KindTimeout }

// Temporary is there to make an Error a net.Error.
func (e *Error) Temporary() bool { return e.Kind == KindTimeout }

// Unsent reports whether err says that the request certainly did not reach its peer.
func Unsent(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.Written
}

// KindOf returns the kind of an error that came from a Transport, KindTimeout and KindCanceled for the errors
// of a context, and KindOther for the rest.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.DeadlineExceeded):
		return KindTimeout
	case errors.Is(err, context.Canceled):
		return KindCanceled
	}
	return KindOther
}
