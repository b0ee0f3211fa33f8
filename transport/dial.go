package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// keepAlive finds a dead idle connection in about half a minute: fast enough for nobody to wait for it, slow
// enough not to be a load.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

func tune(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetKeepAliveConfig(keepAlive)
		setUserTimeout(tc)
	}
}

// connect dials e's peer as generation g, within Options.ConnectTimeout, and returns a verified, registered
// connection: a *tls.Conn over raw, or raw itself for http.
func (t *Transport) connect(ctx context.Context, g *generation, e *entry, protos []string) (net.Conn, *rawConn, error) {
	c := &e.member.counters
	c.dials.Add(1)
	nc, raw, err := t.dial(ctx, g, e, protos)
	if err != nil {
		c.dialErrors.Add(1)
		if !errors.Is(err, context.Canceled) {
			t.event(Event{Type: EventDialFailed, Peer: e.peer.Name, Generation: g.id, Err: err})
		}
		return nil, nil, err
	}
	return nc, raw, nil
}

func (t *Transport) dial(parent context.Context, g *generation, e *entry, protos []string) (net.Conn, *rawConn, error) {
	ctx, cancel := context.WithTimeout(parent, t.opts.ConnectTimeout)
	defer cancel()
	fail := func(k Kind, err error) (net.Conn, *rawConn, error) {
		switch {
		case parent.Err() != nil:
			k, err = KindOf(parent.Err()), parent.Err()
		case ctx.Err() != nil:
			k, err = KindUnreachable, fmt.Errorf("no connection within %v: %w", t.opts.ConnectTimeout, err)
		}
		return nil, nil, &Error{Peer: e.peer.Name, Op: "dial", Kind: k, Err: err}
	}
	tcp, err := t.dialTCP(ctx, e)
	if err != nil {
		return fail(KindUnreachable, err)
	}
	raw := &rawConn{Conn: tcp, t: t, member: e.member}
	if e.scheme == "http" {
		if err := t.admitPlain(raw, e); err != nil {
			_ = raw.Close()
			return fail(KindRefused, err)
		}
		return raw, raw, nil
	}
	tc := tls.Client(raw, t.clientConfig(g, e, raw, protos))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		if why := raw.cut.Load(); why != nil {
			return fail(why.Kind, why.Err)
		}
		return fail(KindTLS, curedHandshake(err, t.opts.TLS12))
	}
	e.member.counters.handshakes.Add(1)
	if tc.ConnectionState().DidResume {
		e.member.counters.resumed.Add(1)
	}
	return tc, raw, nil
}

func (t *Transport) dialTCP(ctx context.Context, e *entry) (net.Conn, error) {
	var proxy *url.URL
	if t.opts.Proxy != nil {
		var err error
		if proxy, err = t.opts.Proxy(e.peer); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
	}
	addr := e.addr
	if proxy != nil {
		addr = canonicalHost(proxy.Scheme, proxy.Host)
	}
	c, err := t.opts.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tune(c)
	if proxy == nil {
		return c, nil
	}
	c, err = viaProxy(ctx, c, proxy, e.addr)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
	}
	return c, nil
}

// viaProxy asks the proxy at the other end of c for a tunnel (RFC 9110 section 9.3.6). It closes c if it fails.
func viaProxy(ctx context.Context, c net.Conn, proxy *url.URL, addr string) (_ net.Conn, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = c.Close()
		}
	}()
	switch proxy.Scheme {
	case "http":
	case "https":
		tc := tls.Client(c, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = tc
	default:
		return nil, fmt.Errorf("has the scheme %q: want http or https", proxy.Scheme)
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := proxy.User; u != nil {
		pass, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pass)))
	}
	if err := req.Write(c); err != nil {
		return nil, err
	}
	// The proxy sends nothing of its own after its answer, and the peer nothing before our hello: what the
	// reader holds is the answer alone.
	br := bufio.NewReader(io.LimitReader(c, 64<<10))
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("refused the tunnel: %s", resp.Status)
	}
	if br.Buffered() > 0 {
		return nil, errors.New("sent more than its answer")
	}
	return c, nil
}
