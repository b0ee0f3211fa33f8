package vault

import (
	"context"
	"net"
	"sync"
	"time"
)

// A dialer knows the connections it has made, so that Close can end them all: a transport closes only those that
// are idle at that moment, and keeps one whose dial ends later.
type dialer struct {
	socket string // of a local agent; "": TCP

	mu     sync.Mutex
	closed bool
	conns  map[*trackedConn]struct{}
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n := net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	if d.socket != "" {
		network, address = "unix", d.socket
	}
	c, err := n.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	t := &trackedConn{Conn: c, dialer: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = c.Close()
		return nil, errClosed
	}
	if d.conns == nil {
		d.conns = map[*trackedConn]struct{}{}
	}
	d.conns[t] = struct{}{}
	return t, nil
}

func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	conns := d.conns
	d.conns = nil
	d.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

type trackedConn struct {
	net.Conn
	dialer *dialer
}

func (c *trackedConn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.conns, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
