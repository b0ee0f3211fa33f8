package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// A Transport is an http.RoundTripper to the configured peers. It is safe for concurrent use. Close it.
type Transport struct {
	opts    Options
	factory *http.Transport   // makes http.ClientConns of connections that are there already
	wrapped http.RoundTripper // Options.Wrap around a single attempt; nil without it

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	life   sync.Mutex // guards closed against goFunc
	closed bool
	wg     sync.WaitGroup
	ended  chan struct{} // closed when Close has done its work

	snap    atomic.Pointer[snapshot]
	current atomic.Pointer[generation]
	live    live
	warming semaphore

	lingering semaphore

	update    sync.Mutex // one change of snapshot at a time
	snapshots uint64     // guarded by update

	mu       sync.Mutex // guards the generations that do not serve, and adopters
	next     *generation
	lastID   uint64
	old      map[*generation]struct{}
	adopters []*adopter // of the servers that were configured

	stopping atomic.Bool // Shutdown: no new requests
	inFlight atomic.Int64
	quiet    chan struct{} // signalled when inFlight falls to 0

	cuts, accepted, refused, notPeer atomic.Uint64
}

var _ http.RoundTripper = (*Transport)(nil)

var errDrained = errors.New("the identity this exchange began with was replaced, and its time to end is over")

const parallelWarm = 64

// New returns a Transport without material: until the first Update every request fails with ErrUnavailable. Its
// error wraps ErrConfig and names the option.
func New(opts Options) (*Transport, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	t := &Transport{
		opts:    opts,
		ended:   make(chan struct{}),
		live:    live{conns: make(map[*rawConn]struct{})},
		warming: make(semaphore, parallelWarm), lingering: make(semaphore, maxLingering),
		old:   make(map[*generation]struct{}),
		quiet: make(chan struct{}, 1),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.factory = newFactory(&t.opts)
	if opts.Wrap != nil {
		t.wrapped = opts.Wrap(oneAttempt{})
	}
	t.goFunc(t.janitor)
	return t, nil
}

func newFactory(o *Options) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(o.Protocol == HTTP2)
	return &http.Transport{
		DialContext:            given,
		DialTLSContext:         given,
		Protocols:              protocols,
		DisableCompression:     true, // a message arrives as it was sent
		MaxResponseHeaderBytes: o.MaxResponseHeaderBytes,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: keepAlive.Idle, PingTimeout: keepAlive.Interval},
	}
}

func (t *Transport) protocols() []string {
	if t.opts.Protocol == HTTP2 {
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// goFunc runs f on a goroutine that Close waits for. It reports false if t is closed; then f does not run.
func (t *Transport) goFunc(f func()) bool {
	t.life.Lock()
	defer t.life.Unlock()
	if t.closed {
		return false
	}
	t.wg.Add(1)
	go func() {
		defer t.wg.Done()
		f()
	}()
	return true
}

// entryOf returns the peer's entry under the snapshot in force, or nil.
func (t *Transport) entryOf(m *member) *entry {
	s := t.snap.Load()
	if s == nil {
		return nil
	}
	return s.byMember[m]
}

// Dial returns a handshaken TLS connection to the named peer that speaks one of the application protocols, outside
// any pool. A change of trust closes it if it fails then; a change of identity does not. The caller closes it.
func (t *Transport) Dial(ctx context.Context, peer string, protocols ...string) (*tls.Conn, error) {
	e, err := t.named(peer)
	if err != nil {
		return nil, err
	}
	g := t.enter()
	if g == nil {
		return nil, &Error{Peer: peer, Op: "dial", Kind: KindClosed, Err: ErrClosed}
	}
	defer g.leave()
	c, _, err := t.connect(ctx, g, e, protocols)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// Shutdown refuses new requests, waits within ctx until those in flight have ended, and then closes. It returns
// ctx's error if that came first.
func (t *Transport) Shutdown(ctx context.Context) error {
	t.stopping.Store(true)
	var err error
	for err == nil && t.inFlight.Load() > 0 {
		select {
		case <-t.quiet:
		case <-t.ended:
			return nil
		case <-ctx.Done():
			err = fmt.Errorf("transport: shutdown: %w", ctx.Err())
		}
	}
	return errors.Join(err, t.Close())
}

// Close closes every connection in both directions, ends every request, and waits for all that t started. It may
// be called again.
func (t *Transport) Close() error {
	t.life.Lock()
	again := t.closed
	t.closed = true
	t.life.Unlock()
	if again {
		<-t.ended
		return nil
	}
	t.stopping.Store(true)
	t.cancel()
	for _, g := range t.generations() {
		g.retired.Store(true)
		for _, p := range g.list() {
			p.abandon(&Error{Op: "exchange", Kind: KindClosed, Err: ErrClosed})
		}
		g.finish(0)
	}
	t.live.close()
	t.wg.Wait()
	close(t.ended)
	return nil
}

func (t *Transport) isClosed() bool {
	t.life.Lock()
	defer t.life.Unlock()
	return t.closed
}

var _ net.Listener = (*tracked)(nil)
