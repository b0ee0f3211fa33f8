package signer

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// watch cuts off bodies that stall. All bodies that a Verifier is reading share one timer, which runs only
// while there are some: arming one for each would cost more than all the rest of a small message's check.
type watch struct {
	tick    time.Duration
	mu      sync.Mutex
	first   *guard
	ticking bool
}

// A guard ends a read that stalls: when the context ends or the deadline passes, within a tick. Where
// there is a response, it moves the connection's read deadline into the past, which is all that stops a
// read on HTTP/1.1; otherwise it closes the body, which stops one on HTTP/2 and on pipes.
type guard struct {
	watch      *watch
	ctx        context.Context
	body       io.Closer
	response   http.ResponseWriter
	deadline   time.Time
	fired      atomic.Bool
	prev, next *guard
}

// guard begins to watch over a body, for at most limit. A guard that has ended can be used again.
func (w *watch) guard(g *guard, ctx context.Context, body io.Closer, response http.ResponseWriter, limit time.Duration) {
	g.watch, g.ctx, g.body, g.response = w, ctx, body, response
	g.deadline = time.Now().Add(limit)
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.next = w.first; g.next != nil {
		g.next.prev = g
	}
	w.first = g
	if !w.ticking {
		w.ticking = true
		time.AfterFunc(w.tick, w.look)
	}
}

// look cuts what is late, and goes on while something is left.
func (w *watch) look() {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for g := w.first; g != nil; g = g.next {
		if (now.After(g.deadline) || g.ctx.Err() != nil) && !g.fired.Swap(true) {
			go cut(g.body, g.response) // closing a body can wait for the read that it is to end
		}
	}
	if w.ticking = w.first != nil; w.ticking {
		time.AfterFunc(w.tick, w.look)
	}
}

func cut(body io.Closer, response http.ResponseWriter) {
	if response != nil && http.NewResponseController(response).SetReadDeadline(time.Unix(1, 0)) == nil {
		return
	}
	_ = body.Close()
}

// end lifts the guard and reports whether it had to act.
func (g *guard) end() (late bool) {
	w := g.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		w.first = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	}
	g.prev, g.next = nil, nil
	return g.fired.Load()
}
