package transport

import (
	"errors"
	"net"
	"reflect"
)

// remoteAlert returns the code of the TLS alert (RFC 8446 section 6) that the peer sent, if err says so.
func remoteAlert(err error) (uint8, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}

const (
	alertVersion  = 70  // the server speaks no version that the client offers
	alertInternal = 80  // the fault is the server's; ours say so when they have no identity, or are closed
	alertRequired = 116 // the server wants a certificate, and got none
)

// handshakeAlert reports whether the alert refuses a certificate: bad, unsupported, revoked, expired, unknown,
// of an unknown authority, access denied, required.
func handshakeAlert(code uint8) bool {
	switch code {
	case 42, 43, 44, 45, 46, 48, 49, alertRequired:
		return true
	}
	return false
}
