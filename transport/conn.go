package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A conn is one HTTP connection of a pool.
type conn struct {
	pool *pool
	cc   *http.ClientConn
	raw  *rawConn
	app  *appConn             // HTTP/1: what lies between HTTP and TLS
	tls  *tls.ConnectionState // nil for http
	h2   bool
	born int64 // clock() of the end of the handshake

	warm     atomic.Bool // made before any request needed it, and not used yet
	used     atomic.Bool
	heard    atomic.Bool // an answer came over it
	upgraded atomic.Bool // it speaks another protocol now, and belongs to whoever has the answer's body

	trips atomic.Int64 // RoundTrips of cc that have not returned

	// guarded by pool.mu
	active    int   // exchanges whose slot was reserved; 0 or 1 with HTTP/1
	promised  int   // times it was given to a request that has not reserved a slot yet
	retired   bool  // takes no more requests
	gone      bool  // closed, and out of the pool
	idleSince int64 // clock()
}

// idle reports whether nobody uses the connection or is about to. The pool's mu is held.
func (c *conn) idle() bool { return c.active == 0 && c.promised == 0 }

// An appConn counts the bytes that HTTP writes, so that a request of which nothing was written is known, and
// remembers the alert with which the peer ended the connection, which a failing write may hide.
type appConn struct {
	net.Conn
	wrote atomic.Int64
	alert atomic.Pointer[error]
	once  sync.Once
	read  chan struct{} // closed when the first Read is over
}

// alertWait bounds the wait for an alert. The system tells a reader at once of what made a write fail.
const alertWait = time.Second

func newAppConn(c net.Conn) *appConn { return &appConn{Conn: c, read: make(chan struct{})} }

// Read is called by net/http from the start, and again when an answer was read.
func (c *appConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		if _, ok := remoteAlert(err); ok {
			c.alert.Store(&err)
		}
	}
	c.once.Do(func() { close(c.read) })
	return n, err
}

// Write lets a failure wait for the first Read: net/http closes the connection for it, and the alert would be lost.
func (c *appConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wrote.Add(int64(n))
	if err != nil {
		wait := time.NewTimer(alertWait)
		defer wait.Stop()
		select {
		case <-c.read:
		case <-wait.C:
		}
	}
	return n, err
}

// CloseWrite is for a connection that was upgraded.
func (c *appConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// expired reports whether the certificates that the connection was made with are past their end.
func (c *conn) expired(now time.Time) bool {
	if c.tls == nil {
		return false
	}
	for _, x := range c.tls.PeerCertificates {
		if now.After(x.NotAfter) {
			return true
		}
	}
	return false
}

// failure names why an exchange on c ended with err.
func (c *conn) failure(op string, written bool, err error) *Error {
	if cut := c.raw.cut.Load(); cut != nil {
		return &Error{Peer: cut.Peer, Op: op, Kind: cut.Kind, Written: written, Err: cut.Err}
	}
	if c.app != nil {
		if p := c.app.alert.Load(); p != nil {
			err = *p
		}
	}
	if alert, ok := remoteAlert(err); ok && !c.heard.Load() && handshakeAlert(alert) {
		// TLS 1.3: the peer judged our certificate after our first request had left, and read none of it.
		return &Error{Op: op, Kind: KindTLS, Err: refusedUs(err)}
	}
	return &Error{Op: op, Kind: KindBroken, Written: written, Err: err}
}

// roundTrip makes an exchange on a slot that is reserved.
func (c *conn) roundTrip(req *http.Request) (*http.Response, error) {
	c.trips.Add(1)
	resp, err := c.cc.RoundTrip(req)
	if !c.h2 && err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		c.upgraded.Store(true)
	}
	c.trips.Add(-1)
	if !c.h2 {
		c.pool.changed(c)
	}
	return resp, err
}

func (c *conn) close() {
	_ = c.cc.Close()
	_ = c.raw.Close()
}
