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
		if state == http.StateClosed || state == http.StateHijacked {
			a.release(c)
		}
		if next != nil {
			next(c, state)
		}
	}
}

// An adopter tracks the connections of a server that does not take them from Track. It learns of them in the
// handshake, and of their end from the server.
type adopter struct {
	t     *Transport
	mu    sync.Mutex
	conns map[net.Conn]*rawConn
}

func (a *adopter) adopt(c net.Conn) *rawConn {
	tune(c)
	raw := &rawConn{Conn: c, t: a.t, inbound: true}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns[c] = raw
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
		a.t.live.forget(raw)
	}
}
