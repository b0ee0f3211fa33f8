package transport

import (
	"errors"
	"net/http"
	"sync/atomic"
)

// A call is one RoundTrip.
type call struct {
	t     *Transport
	req   *http.Request
	entry *entry
	lane  Lane
	class int

	winner atomic.Pointer[attempt] // whose answer is the caller's
	ended  atomic.Bool
}

// RoundTrip sends req to the peer whose URL is a prefix of its own, and fails with an *Error otherwise. It does
// not change req, closes its body in every case, and follows nothing.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body := newRequestBody(req.Body)
	e, err := t.begin(req)
	if err != nil {
		body.release(true)
		return nil, err
	}
	c := &call{t: t, req: req, entry: e, lane: laneOf(req.Context()), class: sizeClass(req.ContentLength)}
	if body == nil {
		c.class = 0
	}
	e.member.counters.requests.Add(1)
	var resp *http.Response
	var rerr *Error
	if Operation(req.Context()) != "" && (body == nil || req.GetBody != nil) {
		resp, rerr = c.race(body)
	} else {
		resp, rerr = c.once(body)
	}
	if rerr != nil {
		c.done()
		e.member.counters.errors[rerr.Kind].Add(1)
		return nil, rerr
	}
	return resp, nil
}

// begin finds the peer of a request and counts the request as in flight.
func (t *Transport) begin(req *http.Request) (*entry, *Error) {
	if req.URL == nil {
		return nil, &Error{Op: "route", Err: errors.New("request without a URL")}
	}
	s := t.snap.Load()
	if s == nil {
		return nil, &Error{Op: "route", Kind: KindUnreachable, Err: errNotReady}
	}
	e := s.route(req.URL)
	if e == nil {
		t.notPeer.Add(1)
		return nil, &Error{Op: "route", Kind: KindNotPeer, Err: s.stray(req.URL)}
	}
	t.inFlight.Add(1)
	if t.stopping.Load() {
		t.leave()
		return nil, &Error{Peer: e.peer.Name, Op: "route", Kind: KindClosed, Err: ErrClosed}
	}
	return e, nil
}

// done counts the request as ended; it may be called again.
func (c *call) done() {
	if !c.ended.Swap(true) {
		c.t.leave()
	}
}

func (t *Transport) leave() {
	if t.inFlight.Add(-1) == 0 && t.stopping.Load() {
		select {
		case t.quiet <- struct{}{}:
		default:
		}
	}
}

// once sends a request that must not be repeated, unless nothing of it was ever written.
func (c *call) once(body *requestBody) (*http.Response, *Error) {
	for n := 1; ; n++ {
		body.keep()
		a := &attempt{call: c, n: n, fresh: n > 1, body: body, ctx: c.req.Context()}
		resp, again, err := a.run()
		if err == nil {
			body.release(false)
			return c.won(a, resp), nil
		}
		if again && n < c.t.opts.MaxAttempts && c.req.Context().Err() == nil {
			if next, ok := c.rewind(body); ok {
				body = next
				c.resent(err)
				continue
			}
		}
		body.release(true)
		err.Attempts = n
		return nil, err
	}
}

// rewind returns the body for another attempt.
func (c *call) rewind(body *requestBody) (*requestBody, bool) {
	if body == nil {
		return nil, true
	}
	if c.req.GetBody != nil {
		rc, err := c.req.GetBody()
		if err != nil {
			return nil, false
		}
		body.release(true)
		return newRequestBody(rc), true
	}
	return body, !body.touched()
}

func (c *call) resent(why *Error) {
	c.entry.member.counters.resent.Add(1)
	c.t.event(Event{Type: EventResent, Peer: c.entry.peer.Name, Err: why})
}

// won hands the answer of a to the caller.
func (c *call) won(a *attempt, resp *http.Response) *http.Response {
	c.winner.Store(a)
	m := c.entry.member
	m.budget.earn()
	if resp.Body == nil || resp.Body == http.NoBody || a.held {
		a.end()
		return resp
	}
	b := &responseBody{ReadCloser: resp.Body, a: a, open: resp.ContentLength < 0}
	if w, ok := resp.Body.(interface{ Write([]byte) (int, error) }); ok {
		resp.Body = upgradedBody{b, w}
	} else {
		resp.Body = b
	}
	return resp
}

// request is the request as an attempt sends it: the caller's is left alone.
func (c *call) request(a *attempt) *http.Request {
	var r *http.Request
	if a.ctx == c.req.Context() {
		r = new(http.Request)
		*r = *c.req
	} else {
		r = c.req.WithContext(a.ctx)
	}
	if a.body != nil {
		r.Body = a.body
	}
	if c.t.opts.Prepare != nil || c.t.wrapped != nil {
		if r.Header = c.req.Header.Clone(); r.Header == nil {
			r.Header = make(http.Header)
		}
	}
	return r
}

// asError makes a fresh *Error of err and names the peer.
func (c *call) asError(op string, err error) *Error {
	e := Error{Op: op, Kind: KindOf(err), Err: err}
	var own *Error
	if errors.As(err, &own) {
		e = *own
	}
	e.Peer = c.entry.peer.Name
	return &e
}
