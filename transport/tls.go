package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

var (
	errNoPeer    = errors.New("is no configured peer any more")
	errNotReady  = errors.New("no material yet: call Update")
	errUntracked = errors.New("connection does not come from Transport.Track or Listener: wrap the listener")

	groups = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256}
)

// baseConfig holds what both directions have in common.
func (t *Transport) baseConfig() *tls.Config {
	c := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       groups,
		SessionTicketsDisabled: !t.opts.Resumption,
		// A record of 16 KiB from the start: what is sent is whole messages, which nobody reads by halves.
		DynamicRecordSizingDisabled: true,
	}
	if t.opts.TLS12 {
		c.MinVersion = tls.VersionTLS12
	}
	return c
}

// clientConfig is the configuration of one outbound connection.
func (t *Transport) clientConfig(g *generation, e *entry, raw *rawConn, protos []string) *tls.Config {
	c := t.baseConfig()
	c.ServerName = e.name
	c.NextProtos = protos
	c.InsecureSkipVerify = true // VerifyConnection does it, on resumption too
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return g.certificate(), nil }
	var sessions *unstapledSessions
	if cache := g.sessions(e.member); cache != nil {
		sessions = &unstapledSessions{ClientSessionCache: cache}
		c.ClientSessionCache = sessions
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		err := t.admitOutbound(raw, e.member, &cs)
		if err != nil {
			raw.cut.CompareAndSwap(nil, &Error{Peer: e.peer.Name, Op: "dial", Kind: KindRefused, Err: err})
			t.event(Event{Type: EventRefused, Peer: e.peer.Name, Generation: g.id, Err: err})
			return err
		}
		if sessions != nil && (len(cs.OCSPResponse) > 0 || promisesStaple(cs.PeerCertificates[0])) {
			sessions.stapled.Store(true)
		}
		return nil
	}
	return c
}

// admitOutbound verifies under the snapshot in force and registers; if the snapshot changed meanwhile, again.
// Either the change sees the registered connection, or this sees the change.
func (t *Transport) admitOutbound(raw *rawConn, m *member, cs *tls.ConnectionState) error {
	for {
		s := t.snap.Load()
		e := s.byMember[m]
		if e == nil || e.scope == nil {
			return errNoPeer
		}
		now := time.Now()
		v, err := s.verifyOutbound(e, cs.PeerCertificates, nil, now)
		if err == nil {
			err = stapled(cs.OCSPResponse, v.chain, true, now)
		}
		if err != nil {
			return err
		}
		if !t.live.admit(raw, cs.PeerCertificates, v, s) {
			return ErrClosed
		}
		if t.snap.Load() == s {
			return nil
		}
	}
}

func (t *Transport) admitPlain(raw *rawConn, e *entry) error {
	for {
		s := t.snap.Load()
		if s.byMember[e.member] == nil {
			return errNoPeer
		}
		if !t.live.admit(raw, nil, verdict{entry: e}, s) {
			return ErrClosed
		}
		if t.snap.Load() == s {
			return nil
		}
	}
}

func (t *Transport) admitInbound(raw *rawConn, cs *tls.ConnectionState) (*entry, error) {
	for {
		s := t.snap.Load()
		if s == nil {
			return nil, errNotReady
		}
		now := time.Now()
		v, err := s.verifyInbound(cs.PeerCertificates, nil, now)
		if err == nil {
			err = stapled(cs.OCSPResponse, v.chain, false, now)
		}
		if err != nil {
			return nil, err
		}
		if !t.live.admit(raw, cs.PeerCertificates, v, s) {
			return nil, ErrClosed
		}
		if t.snap.Load() == s {
			return v.entry, nil
		}
	}
}

// ServerTLS returns a configuration for servers. It follows every Update, and accepts only certificates that
// identify exactly one configured peer under that peer's own trust. Its connections must come from Track, and
// are refused otherwise, because no change of trust could close them. It offers the application protocols given,
// by default "h2" and "http/1.1".
func (t *Transport) ServerTLS(protocols ...string) *tls.Config {
	return t.serverTLS(func(net.Conn) *rawConn { return nil }, protocols)
}

// serverTLS is ServerTLS for servers of which adopt may know connections that Track does not.
func (t *Transport) serverTLS(adopt func(net.Conn) *rawConn, protocols []string) *tls.Config {
	if len(protocols) == 0 {
		protocols = []string{"h2", "http/1.1"}
	}
	c := t.baseConfig()
	c.NextProtos = protocols
	c.ClientAuth = tls.RequireAnyClientCert
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		raw, ok := hello.Conn.(*rawConn)
		if !ok || raw.t != t {
			if raw = adopt(hello.Conn); raw == nil {
				return nil, errUntracked
			}
		}
		if t.isClosed() {
			return nil, ErrClosed // here, and the client learns that the fault is ours; below it is taken for its certificate's
		}
		g := t.current.Load()
		if g == nil || g.server == nil {
			return nil, errNotReady
		}
		pc := g.server.Clone() // a config returned from here inherits nothing: protocols and ticket keys are its own
		pc.NextProtos = protocols
		pc.VerifyConnection = func(cs tls.ConnectionState) error { return t.acceptInbound(raw, &cs) }
		return pc, nil
	}
	// Reached only where GetConfigForClient is bypassed.
	c.VerifyConnection = func(tls.ConnectionState) error { return errUntracked }
	return c
}

func (t *Transport) acceptInbound(raw *rawConn, cs *tls.ConnectionState) error {
	_, err := t.admitInbound(raw, cs)
	raw.timer.Stop()
	if err != nil {
		raw.refuse.Store(true)
		t.refused.Add(1)
		t.event(Event{Type: EventRefused, Inbound: true, Err: fmt.Errorf("%v: %w", raw.RemoteAddr(), err)})
		return err
	}
	t.accepted.Add(1)
	return nil
}

// ClientTLS returns a configuration for TLS connections to the named peer: the same checks and the same identity
// as RoundTrip's, following every Update. A change of trust does not close a connection made with it; for that,
// use Dial. The error wraps ErrConfig if there is no such peer.
func (t *Transport) ClientTLS(peer string) (*tls.Config, error) {
	e, err := t.named(peer)
	if err != nil {
		return nil, err
	}
	m := e.member
	c := t.baseConfig()
	c.ServerName = e.name
	c.InsecureSkipVerify = true // VerifyConnection does it, on resumption too
	c.SessionTicketsDisabled = true
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if g := t.current.Load(); g != nil {
			return g.certificate(), nil
		}
		return &tls.Certificate{}, nil
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		s := t.snap.Load()
		e := s.byMember[m]
		if e == nil || e.scope == nil {
			return &Error{Peer: peer, Op: "dial", Kind: KindRefused, Err: errNoPeer}
		}
		now := time.Now()
		v, err := s.verifyOutbound(e, cs.PeerCertificates, nil, now)
		if err == nil {
			err = stapled(cs.OCSPResponse, v.chain, true, now)
		}
		if err != nil {
			t.event(Event{Type: EventRefused, Peer: e.peer.Name, Err: err})
			return &Error{Peer: e.peer.Name, Op: "dial", Kind: KindRefused, Err: err}
		}
		return nil
	}
	return c, nil
}

// named finds a peer by its name.
func (t *Transport) named(peer string) (*entry, error) {
	s := t.snap.Load()
	if s == nil {
		return nil, &Error{Peer: peer, Op: "route", Kind: KindUnreachable, Err: errNotReady}
	}
	e := s.byName[peer]
	if e == nil || e.scope == nil {
		return nil, fmt.Errorf("transport: no https peer is named %q: %w", peer, ErrConfig)
	}
	return e, nil
}

// Identify returns the one peer that the certificate of an inbound connection identifies now: chain, CRLs, names
// and pins are checked again under the trust in force. The error is an *Error of KindRefused.
func (t *Transport) Identify(cs *tls.ConnectionState) (Peer, error) {
	s := t.snap.Load()
	if s == nil || cs == nil {
		return Peer{}, &Error{Op: "accept", Kind: KindRefused, Err: errNotReady}
	}
	v, err := s.verifyInbound(cs.PeerCertificates, nil, time.Now())
	if err != nil {
		return Peer{}, &Error{Op: "accept", Kind: KindRefused, Err: err}
	}
	return v.entry.peer, nil
}

var _ net.Conn = (*rawConn)(nil)
