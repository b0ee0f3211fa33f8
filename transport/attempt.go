package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// An attempt is one writing of a request, over one connection.
type attempt struct {
	call   *call
	n      int
	fresh  bool // over a connection made for it
	body   *requestBody
	ctx    context.Context
	cancel context.CancelFunc // nil: ctx is the caller's

	gen    *generation
	cn     atomic.Pointer[conn]
	start  atomic.Int64 // clock() when it was given to the connection; 0: not yet
	spent  atomic.Bool
	wroteH atomic.Bool // HTTP/2: the head may have been written
	ended  atomic.Bool
	held   bool // the answer was read to its end
}

type attemptKey struct{}

// run takes a connection and makes the exchange. On failure everything it took is given back, the body apart;
// again reports whether the request surely was not processed and another connection may do better.
func (a *attempt) run() (resp *http.Response, again bool, err *Error) {
	t, e := a.call.t, a.call.entry
	cn, cold, aerr := a.acquire()
	if aerr != nil {
		return nil, false, a.call.asError("wait", aerr)
	}
	c := &e.member.counters
	c.attempts.Add(1)
	warm := cn.warm.Swap(false)
	switch reused := cn.used.Swap(true); {
	case cold && !reused:
		c.cold.Add(1)
	case warm:
		c.warm.Add(1)
	default:
		c.reused.Add(1)
	}
	a.cn.Store(cn)

	req := a.call.request(a)
	var rerr error
	if t.wrapped == nil {
		resp, rerr = a.exchange(req)
	} else {
		resp, rerr = t.wrapped.RoundTrip(req.WithContext(context.WithValue(req.Context(), attemptKey{}, a)))
		if !a.spent.Swap(true) {
			cn.cc.Release()
			if rerr == nil && resp == nil {
				rerr = errors.New("the wrapping RoundTripper returned nothing")
			}
		}
	}
	if cerr := a.ctx.Err(); rerr == nil && cerr != nil {
		// net/http closes an HTTP/1 connection for it, with a close_notify first. A handler that returns for that has
		// answered well, though it did nothing: such an answer may still come through.
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		rerr = &Error{Op: "exchange", Kind: KindOf(cerr), Written: true, Err: cerr}
	}
	if rerr != nil {
		ferr := a.failure(rerr)
		// A certificate that the peer no longer takes may have been replaced here meanwhile.
		again = !ferr.Written && (ferr.Kind == KindBroken && a.unusable(cn) || ferr.Kind == KindTLS && a.overtaken())
		a.end()
		return nil, again, ferr
	}
	cn.heard.Store(true)
	a.observe()
	return resp, false, nil
}

// acquire takes a connection of the generation that serves. One that failed to connect after it was replaced says
// nothing about the one that replaced it: its certificate may just have lost its root.
func (a *attempt) acquire() (cn *conn, cold bool, err error) {
	t := a.call.t
	for {
		if a.gen = t.enter(); a.gen == nil {
			return nil, false, &Error{Op: "wait", Kind: KindClosed, Err: ErrClosed}
		}
		cn, cold, err = a.gen.pool(a.call.entry.member, a.call.lane).acquire(a.ctx, a.fresh)
		if err == nil {
			return cn, cold, nil
		}
		if !a.overtaken() || a.ctx.Err() != nil {
			a.end()
			return nil, cold, err
		}
		a.gen.leave()
	}
}

// overtaken reports whether another identity serves than the one that the attempt uses.
func (a *attempt) overtaken() bool { return a.call.t.current.Load() != a.gen }

// exchange prepares the request and gives it to the connection.
func (a *attempt) exchange(req *http.Request) (*http.Response, error) {
	cn := a.cn.Load()
	if a.spent.Swap(true) {
		return nil, &Error{Op: "exchange", Kind: KindOther, Written: true, Err: errors.New("a second request on one attempt: the wrapping RoundTripper must not repeat")}
	}
	if prepare := a.call.t.opts.Prepare; prepare != nil {
		if err := prepare(req, a.call.entry.peer, a.n); err != nil {
			cn.cc.Release()
			kind := KindPrepare
			if cerr := a.ctx.Err(); cerr != nil {
				kind = KindOf(cerr)
			}
			return nil, &Error{Op: "prepare", Kind: kind, Err: err}
		}
	}
	if cn.h2 {
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			WroteHeaderField: func(string, []string) { a.wroteH.Store(true) }, // before it is on the wire
		}))
	}
	before := cn.wrote()
	a.start.Store(clock())
	resp, err := cn.roundTrip(req)
	if err == nil {
		resp.TLS = cn.tls
		resp.Request = a.call.req
		return resp, nil
	}
	written := cn.wrote() != before
	if cn.h2 {
		// A canceled exchange may still be writing.
		written = (a.wroteH.Load() || a.ctx.Err() != nil) && !unprocessed(err)
	} else if cn.cc.Available() == 0 {
		cn.close()
	}
	if cerr := a.ctx.Err(); cerr != nil && cn.raw.cut.Load() == nil {
		return nil, &Error{Op: "exchange", Kind: KindOf(cerr), Written: written, Err: cerr}
	}
	if !written && !a.unusable(cn) {
		return nil, &Error{Op: "exchange", Kind: KindOther, Err: err}
	}
	return nil, cn.failure("exchange", written, err)
}

func (c *conn) wrote() int64 {
	if c.app == nil {
		return 0
	}
	return c.app.wrote.Load()
}

// unusable reports whether the connection takes no more requests.
func (a *attempt) unusable(cn *conn) bool {
	return cn.cc.Err() != nil || cn.raw.closed.Load() || cn.h2 && cn.cc.Available() == 0
}

// unprocessed reports whether an HTTP/2 error says that the peer did not process the request (RFC 9113 sections
// 6.8 and 8.7). net/http does not export these errors.
func unprocessed(err error) bool {
	s := err.Error()
	return strings.Contains(s, "graceful shutdown GOAWAY") || strings.Contains(s, "REFUSED_STREAM")
}

// failure makes an *Error of what the exchange, or what wraps it, returned.
func (a *attempt) failure(err error) *Error {
	e := a.call.asError("exchange", err)
	if e.Err == err { // not ours
		e.Written = a.start.Load() != 0
	}
	return e
}

func (a *attempt) bodyError(err error) error {
	if cerr := a.call.req.Context().Err(); cerr != nil {
		return &Error{Peer: a.call.entry.peer.Name, Op: "body", Kind: KindOf(cerr), Written: true, Attempts: a.n, Err: cerr}
	}
	e := a.cn.Load().failure("body", true, err)
	e.Peer, e.Attempts = a.call.entry.peer.Name, a.n
	return e
}

// end gives back the generation; it may be called again.
func (a *attempt) end() {
	if a.ended.Swap(true) {
		return
	}
	if a.cancel != nil {
		a.cancel()
	}
	switch cn := a.cn.Load(); {
	case cn == nil:
	case cn.h2:
		cn.pool.finished(cn)
	case cn.upgraded.Load():
		cn.pool.discard(cn)
	}
	a.gen.leave()
	if a.call.winner.Load() == a {
		a.call.done()
	}
}

// quietSince is when the request was last written or answered to; 0 if it waits for a connection.
func (a *attempt) quietSince() int64 {
	since := a.start.Load()
	if since == 0 {
		return 0
	}
	if a.body != nil {
		since = max(since, a.body.lastRead.Load())
	}
	return max(since, a.cn.Load().raw.lastRead.Load())
}

// maxHeld is how much of an answer an operation waits for before the answer counts.
const maxHeld = 64 << 10

// hold reads a small body to its end, so that an answer that is lost halfway is no answer.
func (a *attempt) hold(resp *http.Response) error {
	if resp.ContentLength <= 0 || resp.ContentLength > maxHeld || resp.Body == http.NoBody {
		return nil
	}
	if a.call.req.Method == http.MethodHead || resp.StatusCode == http.StatusNotModified {
		return nil // the length is that of another answer
	}
	buf := make([]byte, resp.ContentLength)
	_, err := io.ReadFull(resp.Body, buf)
	if err == nil { // the connection is free when the end was seen
		var one [1]byte
		if _, err = resp.Body.Read(one[:]); err == io.EOF {
			err = nil
		}
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(buf))
	a.held = true
	return err
}

// oneAttempt is what Options.Wrap wraps.
type oneAttempt struct{}

func (oneAttempt) RoundTrip(req *http.Request) (*http.Response, error) {
	a, _ := req.Context().Value(attemptKey{}).(*attempt)
	if a == nil {
		return nil, errors.New("transport: the wrapping RoundTripper must pass on the request's context")
	}
	return a.exchange(req)
}
