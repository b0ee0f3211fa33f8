package sdk

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/signer"
)

// Client is the HTTP client that every request to a peer should go through: it authenticates both sides with
// TLS, signs each attempt afresh, attaches the API key, and keeps connections for all callers to share. It
// refuses every host that is not a peer, and of a peer whose URL has a path whatever is not below it, and follows no
// redirect to another origin or to another peer. Requests whose context has an operation id
// (transport.WithOperation) may be repeated and survive a lost connection; transport.WithLane sends large transfers
// where they hold up nothing. It ends with the Federation; CloseIdleConnections has no effect.
func (f *Federation) Client() *http.Client { return f.client }

// errRedirect is why a redirect is not followed.
var errRedirect = errors.New("a redirect to another origin or peer is not followed, since what was meant for one peer must not reach another")

// checkRedirect keeps a request with its peer, of which an origin may have several.
func (f *Federation) checkRedirect(req *http.Request, via []*http.Request) error {
	if origin(req.URL) != origin(via[0].URL) || f.memberOf(req) != f.memberOf(via[0]) {
		return fmt.Errorf("sdk: %w", errRedirect)
	}
	if len(via) >= 10 {
		return errors.New("sdk: stopped after 10 redirects")
	}
	return nil
}

// clientTransport is what Client sends with: what the engine behind Push has begun goes on while Shutdown waits for it,
// and nothing of the caller's begins.
type clientTransport struct{ f *Federation }

func (t clientTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.f.isEnding() {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, closedError("client")
	}
	return roundTripper(t).RoundTrip(req)
}

// roundTripper is the transport with what a Federation adds above single attempts.
type roundTripper struct{ f *Federation }

func (rt roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := rt.once(req)
	if err != nil || !signer.IsSignAgain(resp) {
		return resp, err
	}
	again, ok := rewind(req)
	if !ok {
		return resp, nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // lets the connection be used again
	resp.Body.Close()
	return rt.once(again)
}

// once sends a request and learns from the answer.
func (rt roundTripper) once(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := rt.f.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	m := rt.f.memberOf(req)
	if m == nil {
		return resp, nil
	}
	if resp.TLS != nil {
		rt.f.sawChain(m, resp.TLS.PeerCertificates)
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header names a second; its middle is nearest to the truth, as the middle of the exchange is.
		rt.f.sawClock(m, date.Add(500*time.Millisecond).Sub(sent.Add(time.Since(sent)/2)))
	}
	if epoch := signer.EpochOf(resp); epoch != "" {
		m.epoch.Store(&epoch)
	}
	return resp, nil
}

// rewind returns the request as it was before it was sent, if that can be had.
func rewind(req *http.Request) (*http.Request, bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	again := req.Clone(req.Context())
	again.Body = body
	return again, true
}

// sawClock warns, once, about a peer whose clock is too far from ours.
func (f *Federation) sawClock(m *member, skew time.Duration) {
	limit := f.state.Load().policy.ClockSkewWarn
	left, back := m.memory.sawClock(skew, limit)
	switch {
	case left:
		f.events.emit(Event{Kind: EventClockSkew, Peer: m.Name, Detail: fmt.Sprintf("the peer's clock is %v ahead of ours, more than %v; messages are refused when it grows past their validity: check NTP on both sides", skew.Round(time.Second), limit)})
	case back:
		f.events.emit(Event{Kind: EventRecovered, Peer: m.Name, Detail: fmt.Sprintf("the peer's clock is within %v of ours again", limit)})
	}
}

// memberOf finds the peer that a request is for.
func (f *Federation) memberOf(req *http.Request) *member { return f.state.Load().byURL(req.URL) }
