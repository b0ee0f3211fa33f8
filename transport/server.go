package transport

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// ConfigureServer makes srv serve with this node's identity and let in peers alone, following every Update, before
// it starts. Afterwards it can be started with ListenAndServeTLS or ServeTLS, both with empty file names, or with
// Serve on a Listener; whichever it is, a change of trust closes the connections that fail. A connection that a
// handler hijacks is closed by such a change only if it came from Listener or Track.
//
// It sets TLSConfig, and ConnState around what was there.
func (t *Transport) ConfigureServer(srv *http.Server) {
	a := &adopter{t: t, conns: make(map[net.Conn]*rawConn)}
	srv.TLSConfig = t.serverTLS(a.adopt, nil)
	next := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			a.await(c)
		case http.StateClosed, http.StateHijacked:
			a.release(c)
		}
		if next != nil {
			next(c, state)
		}
	}
}

// An adopter tracks the connections of a server that does not take them from Track. It learns of them, and of their end,
// from the server.
type adopter struct {
	t     *Transport
	mu    sync.Mutex
	conns map[net.Conn]*rawConn
}

// await bounds the handshake of a connection that is new.
func (a *adopter) await(c net.Conn) {
	tc, ok := c.(*tls.Conn)
	if !ok {
		return
	}
	if _, known := tc.NetConn().(*rawConn); !known {
		a.adopt(tc.NetConn())
	}
}

func (a *adopter) adopt(c net.Conn) *rawConn {
	a.mu.Lock()
	defer a.mu.Unlock()
	raw := a.conns[c]
	if raw == nil {
		tune(c)
		raw = a.t.inboundConn(c)
		a.conns[c] = raw
	}
	return raw
}

func (a *adopter) release(c net.Conn) {
	tc, ok := c.(*tls.Conn)
	if !ok {
		return
	}
	a.mu.Lock()
	raw := a.conns[tc.NetConn()]
	delete(a.conns, tc.NetConn())
	a.mu.Unlock()
	if raw != nil {
		raw.timer.Stop()
		a.t.live.forget(raw)
	}
}
