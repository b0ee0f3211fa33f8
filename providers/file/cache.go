package file

import (
	"context"
	"sync"
)

// A cache keeps what was made of the latest files. It is safe for concurrent use: of callers with the same
// files, one does the work. The zero value is ready.
type cache[T any] struct {
	once  sync.Once
	turn  chan struct{} // a mutex whose wait a context can end
	at    digest
	value T
	full  bool
	pulls pulls
}

// get returns what build made of the files with this digest. A failure is not kept.
func (c *cache[T]) get(ctx context.Context, at digest, build func() (T, error)) (T, error) {
	c.once.Do(func() { c.turn = make(chan struct{}, 1) })
	var zero T
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	c.pulls.saw(at)
	if c.full && c.at == at {
		return c.value, nil
	}
	v, err := build()
	if err != nil {
		return zero, err
	}
	c.at, c.value, c.full = at, v, true
	return v, nil
}
