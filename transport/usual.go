package transport

import (
	"sync/atomic"
	"time"
)

// usualTimes remembers how long a peer takes to answer, by the size of the request, in the manner of RFC 6298:
// a smoothed mean, and a smoothed deviation so that a peer whose times vary is given more of it.
type usualTimes [sizes]struct {
	mean, dev atomic.Int64 // ns; mean 0: never heard
}

const sizes = 4

func sizeClass(contentLength int64) int {
	switch {
	case contentLength < 0:
		return sizes - 1
	case contentLength <= 16<<10:
		return 0
	case contentLength <= 128<<10:
		return 1
	case contentLength <= 1<<20:
		return 2
	}
	return 3
}

// heard adds an observation. Two at the same moment may count as one.
func (u *usualTimes) heard(class int, d time.Duration) {
	e := &u[class]
	mean, dev := e.mean.Load(), e.dev.Load()
	if mean == 0 {
		e.mean.Store(max(int64(d), 1))
		e.dev.Store(int64(d) / 4)
		return
	}
	diff := int64(d) - mean
	e.mean.Store(max(mean+diff/8, 1))
	if diff < 0 {
		diff = -diff
	}
	e.dev.Store(dev + (diff-dev)/4)
}

// usual is the time within which nearly every answer comes; 0 if none came yet.
func (u *usualTimes) usual(class int) time.Duration {
	e := &u[class]
	m := e.mean.Load()
	if m == 0 {
		return 0
	}
	return time.Duration(m + 2*e.dev.Load())
}

// patience is how long a request may hear nothing before it is sent again.
func (u *usualTimes) patience(class int, o *Options) time.Duration {
	usual := u.usual(class)
	if usual == 0 {
		return o.SilenceInitial
	}
	return max(min(3*usual, o.SilenceCap), o.SilenceFloor, usual+usual/2)
}
