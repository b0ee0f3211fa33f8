package transport

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
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

	mu     sync.Mutex // guards the generations that do not serve
	next   *generation
	lastID uint64
	old    map[*generation]struct{}

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
		return nil, err
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

// Update puts m in force. Trust, peers and distrusted keys hold when it returns, for every connection there is.
// If the identity is another than before, Update also handshakes a connection for each one that is in use, and
// then moves new requests to them; ctx and Options.WarmTimeout bound this, and when they end the new identity
// serves with what is ready. The first Update dials nothing: see Warm.
//
// An error wraps ErrMaterial, ErrExpired or ErrConfig and names what it found; the material before stays in force,
// all of it. Concurrent calls take effect in the order in which they began.
func (t *Transport) Update(ctx context.Context, m Material) error {
	return t.UpdateFrom(ctx, func() Material { return m })
}

// UpdateFrom is Update with material that is read when its turn comes, so that of concurrent calls none puts back
// what another has replaced. read must be quick and must not call t.
func (t *Transport) UpdateFrom(ctx context.Context, read func() Material) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("transport: update: %w", err)
	}
	g, err := t.apply(read)
	if err != nil {
		return fmt.Errorf("transport: update: %w", err)
	}
	if g == nil {
		return nil
	}
	made := 0
	if old := t.current.Load(); old != nil {
		made = t.warmLike(ctx, g, old)
	}
	t.swap(g, made)
	return nil
}

// apply puts the snapshot of what read returns in force, and returns the generation that has to follow if the
// identity changed.
func (t *Transport) apply(read func() Material) (*generation, error) {
	t.update.Lock()
	defer t.update.Unlock()
	if t.isClosed() {
		return nil, ErrClosed
	}
	m := read()
	old := t.snap.Load()
	s, ignored, errs := compileSnapshot(&m, old, &t.opts)
	target := t.target()
	same := target != nil && sameIdentity(target.identity.Load(), m.Identity)
	if !same && m.Identity != nil {
		if err := checkIdentity(m.Identity, time.Now()); err != nil {
			errs = append(errs, fmt.Errorf("Material.Identity: %w", err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t.trust(s, old)
	for _, err := range ignored {
		t.event(Event{Type: EventCRLIgnored, Err: err})
	}
	if same {
		target.identity.Store(m.Identity)
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastID++
	g := t.newGeneration(t.lastID, m.Identity)
	if t.next != nil { // overtaken before it served
		t.next.cancel()
	}
	t.next = g
	return g, nil
}

// trust puts s in force, for what is live too.
func (t *Transport) trust(s, old *snapshot) {
	t.snapshots++
	s.seq = t.snapshots
	t.snap.Store(s)
	cut := t.recheck(s)
	if old != nil {
		gone := func(m *member) bool { return s.byMember[m] == nil }
		for _, g := range t.generations() {
			g.forget(gone)
		}
	}
	t.event(Event{Type: EventSnapshot, N: cut})
	t.tellStale(s, time.Now())
}

// target is the generation that serves, or is about to.
func (t *Transport) target() *generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		return t.next
	}
	return t.current.Load()
}

// generations returns every generation that may hold connections.
func (t *Transport) generations() []*generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*generation, 0, len(t.old)+2)
	for g := range t.old {
		all = append(all, g)
	}
	if t.next != nil {
		all = append(all, t.next)
	}
	if g := t.current.Load(); g != nil {
		all = append(all, g)
	}
	return all
}

// warmLike gives g as many connections as old uses.
func (t *Transport) warmLike(ctx context.Context, g, old *generation) int {
	ctx, cancel := context.WithTimeout(ctx, t.opts.WarmTimeout)
	defer cancel()
	stop := context.AfterFunc(g.ctx, cancel)
	defer stop()
	var wg sync.WaitGroup
	var made atomic.Int64
	for _, p := range old.list() {
		n := p.wanted()
		if n == 0 || t.entryOf(p.member) == nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			k, _ := g.pool(p.member, p.lane).warmUp(ctx, n)
			made.Add(int64(k))
		}()
	}
	wg.Wait()
	return int(made.Load())
}

// swap makes g serve, unless it was overtaken.
func (t *Transport) swap(g *generation, made int) {
	t.mu.Lock()
	if t.next != g || t.isClosed() {
		t.mu.Unlock()
		g.retire()
		return
	}
	t.next = nil
	old := t.current.Swap(g)
	if old != nil {
		t.old[old] = struct{}{}
	}
	t.mu.Unlock()
	t.event(Event{Type: EventGeneration, Generation: g.id, N: made})
	if old != nil {
		old.retire()
	}
}

func (t *Transport) drained(g *generation) {
	t.mu.Lock()
	delete(t.old, g)
	t.mu.Unlock()
}

// entryOf returns the peer's entry under the snapshot in force, or nil.
func (t *Transport) entryOf(m *member) *entry {
	s := t.snap.Load()
	if s == nil {
		return nil
	}
	return s.byMember[m]
}

// Warm handshakes a connection in the quorum lane to every peer that has none, and returns when all have
// answered or failed, or ctx ends. The error joins an *Error for each peer that failed. Without Warm, a peer's
// first request dials.
func (t *Transport) Warm(ctx context.Context) error {
	g := t.enter()
	if g == nil {
		return &Error{Op: "dial", Kind: KindUnreachable, Err: errNotReady}
	}
	defer g.leave()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, e := range t.snap.Load().entries {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := g.pool(e.member, Quorum).warmUp(ctx, 1); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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

// checkIdentity refuses an identity that cannot serve.
func checkIdentity(c *tls.Certificate, now time.Time) error {
	if len(c.Certificate) == 0 {
		return fmt.Errorf("holds no certificate: %w", fault.ErrMaterial)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return fmt.Errorf("leaf certificate cannot be parsed: %w", fault.ErrMaterial)
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("private key is %T, want a crypto.Signer: %w", c.PrivateKey, fault.ErrMaterial)
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(leaf.PublicKey) {
		return fmt.Errorf("private key is not that of the certificate %x: %w", leaf.SerialNumber, fault.ErrMaterial)
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("certificate ended at %s: renew it: %w", leaf.NotAfter.UTC().Format(time.RFC3339), fault.ErrExpired)
	}
	return nil
}

var _ net.Listener = (*tracked)(nil)
