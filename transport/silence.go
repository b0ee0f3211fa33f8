package transport

import (
	"context"
	"net/http"
	"time"
)

type outcome struct {
	a     *attempt
	resp  *http.Response
	again bool
	err   *Error
	lost  bool // another had been answered already
}

// race sends a request that may be repeated. An attempt that hears nothing for too long is joined by another on
// a fresh connection, and the first answer wins; one whose connection dies is followed by another.
func (c *call) race(body *requestBody) (*http.Response, *Error) {
	r := &race{call: c, outcomes: make(chan outcome, c.t.opts.MaxAttempts)}
	if err := r.launch(body, false); err != nil {
		return nil, err
	}
	patience := c.entry.member.usual[c.lane].patience(c.class, &c.t.opts)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var written bool
	for {
		select {
		case o := <-r.outcomes:
			r.pending--
			if o.lost {
				continue
			}
			if o.err == nil {
				r.settle(o.a)
				return c.won(o.a, o.resp), nil
			}
			written = written || o.err.Written
			if o.again && r.more() {
				c.resent(o.err)
				if r.launch(nil, true) == nil {
					timer.Reset(patience)
					continue
				}
			}
			if r.pending == 0 {
				o.err.Written = written
				o.err.Attempts = len(r.attempts)
				return nil, o.err
			}
		case <-timer.C:
			timer.Reset(r.listen(patience))
		}
	}
}

// A race is the attempts of one call. Its fields belong to the goroutine of the call.
type race struct {
	call     *call
	attempts []*attempt
	pending  int
	outcomes chan outcome
}

func (r *race) more() bool {
	return len(r.attempts) < r.call.t.opts.MaxAttempts && r.call.req.Context().Err() == nil
}

// launch starts an attempt. A nil body is made from GetBody, if there is one to send.
func (r *race) launch(body *requestBody, fresh bool) *Error {
	c := r.call
	if body == nil && len(r.attempts) > 0 && c.req.Body != nil && c.req.Body != http.NoBody {
		rc, err := c.req.GetBody()
		if err != nil {
			return c.asError("prepare", err)
		}
		body = newRequestBody(rc)
	}
	a := &attempt{call: c, n: len(r.attempts) + 1, fresh: fresh, body: body}
	a.ctx, a.cancel = context.WithCancel(c.req.Context())
	if !c.t.goFunc(func() { r.outcomes <- r.run(a) }) {
		a.cancel()
		body.release(true)
		return c.asError("wait", &Error{Op: "wait", Kind: KindClosed, Err: ErrClosed})
	}
	r.attempts = append(r.attempts, a)
	r.pending++
	return nil
}

// run makes one attempt. The answer of one that comes too late is thrown away.
func (r *race) run(a *attempt) outcome {
	c := r.call
	resp, again, err := a.run()
	if err == nil {
		if herr := a.hold(resp); herr != nil {
			err = c.asError("body", a.bodyError(herr))
			a.end()
		}
	}
	if err != nil {
		if a.body != nil {
			_ = a.body.Close()
		}
		// The operation id makes two of the request one, so that a connection that died, or was cut because of a
		// certificate that a fresh one may no longer show, is reason enough.
		return outcome{a: a, err: err, again: again || err.Kind == KindBroken || err.Kind == KindCut}
	}
	if !c.winner.CompareAndSwap(nil, a) {
		_ = resp.Body.Close()
		a.end()
		return outcome{a: a, lost: true}
	}
	return outcome{a: a, resp: resp}
}

// observe learns how long the peer took.
func (a *attempt) observe() {
	c := a.call
	since := a.start.Load()
	if a.body != nil {
		since = max(since, a.body.lastRead.Load())
	}
	c.entry.member.usual[c.lane].heard(c.class, time.Duration(clock()-since))
}

// listen repeats the request if the last attempt has been silent for too long, and returns when to look again.
func (r *race) listen(patience time.Duration) time.Duration {
	c := r.call
	last := r.attempts[len(r.attempts)-1]
	since := last.quietSince()
	if since == 0 || !r.more() {
		return patience
	}
	if left := patience - time.Duration(clock()-since); left > 0 {
		return left
	}
	m := c.entry.member
	if !m.budget.take() {
		return patience
	}
	if r.launch(nil, true) == nil {
		m.counters.silences.Add(1)
		c.t.event(Event{Type: EventSilence, Peer: c.entry.peer.Name, Generation: last.gen.id, N: len(r.attempts)})
	}
	return patience
}

// settle ends the attempts that lost, and takes silent connections out of use: that a fresh one was answered
// proves that the peer is there.
func (r *race) settle(winner *attempt) {
	m, n := r.call.entry.member, 0
	for _, a := range r.attempts {
		if a == winner {
			break
		}
		start, cn := a.start.Load(), a.cn.Load()
		if start == 0 || cn == nil || cn.raw.lastRead.Load() > start {
			continue
		}
		n += cn.pool.retireSilent(cn, start)
		n += cn.pool.gen.pool(m, 1-cn.pool.lane).retireSilent(nil, start)
	}
	if n > 0 {
		m.counters.retired.Add(uint64(n))
		r.call.t.event(Event{Type: EventRetired, Peer: r.call.entry.peer.Name, N: n})
	}
	for _, a := range r.attempts {
		if a != winner {
			a.cancel()
		}
	}
}
