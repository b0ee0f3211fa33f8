package transport

import (
	"crypto/tls"
	"net"
	"time"
)

// Listener returns a listener whose connections are *tls.Conn with ServerTLS, as http.Server.Serve wants them;
// closing it closes l. A change of trust closes the connections that fail, in the middle of a request if need
// be: a handler that runs already is not stopped by that, its writes fail. Handshakes are refused until there is
// an identity. The application protocols are those of ServerTLS.
func (t *Transport) Listener(l net.Listener, protocols ...string) net.Listener {
	return &tlsListener{t.Track(l), t.ServerTLS(protocols...)}
}

// Track returns a listener whose connections are those of l, known to t. It is for servers that do TLS
// themselves with ServerTLS, such as gRPC's.
func (t *Transport) Track(l net.Listener) net.Listener { return &tracked{l, t} }

type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l *tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(c, l.config), nil
}

type tracked struct {
	net.Listener
	t *Transport
}

func (l *tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tune(c)
	return l.t.inboundConn(c), nil
}

// inboundConn takes a connection that a peer has made, and gives it HandshakeTimeout to show whose it is.
func (t *Transport) inboundConn(c net.Conn) *rawConn {
	raw := &rawConn{Conn: c, t: t, inbound: true}
	raw.timer = time.AfterFunc(t.opts.HandshakeTimeout, func() { _ = raw.Close() })
	return raw
}
