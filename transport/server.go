package transport

import (
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
)

// ConfigureServer makes srv serve with this node's identity and let in peers alone, following every Update, before
// it starts. Afterwards it can be started with ListenAndServeTLS or ServeTLS, both with empty file names, or with
// Serve on a Listener; whichever it is, a change of trust closes the connections that fail. A connection that a
// handler hijacks is closed by such a change only if it came from Listener or Track.
//
// It sets TLSConfig, and ConnState around what was there. Whoever puts another ConnState in its place has the end of
// connections noticed within 15 s.
func (t *Transport) ConfigureServer(srv *http.Server) {
	a := &adopter{t: t, conns: make(map[net.Conn]*rawConn)}
	t.mu.Lock()
	t.adopters = append(t.adopters, a)
	t.mu.Unlock()
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
	if tc, ok := c.(*tls.Conn); ok {
		a.drop(tc.NetConn())
	}
}

func (a *adopter) drop(c net.Conn) {
	a.mu.Lock()
	raw := a.conns[c]
	delete(a.conns, c)
	a.mu.Unlock()
	if raw != nil {
		raw.timer.Stop()
		a.t.live.forget(raw)
	}
}

// sweep forgets the connections of which the server did not tell that they had ended.
func (a *adopter) sweep() {
	a.mu.Lock()
	all := slices.Collect(maps.Keys(a.conns))
	a.mu.Unlock()
	for _, c := range all {
		if ended(c) {
			a.drop(c)
		}
	}
}

// ended reports whether a connection was closed on this side.
func ended(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	return err != nil || rc.Control(func(uintptr) {}) != nil
}
