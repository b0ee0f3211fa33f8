package transport

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// A requestBody stands before the caller's body. It knows whether and when it was read, and closes it once, but
// not while an attempt that never touched it may be followed by another.
type requestBody struct {
	rc       io.ReadCloser
	lastRead atomic.Int64 // clock(); 0: never

	mu     sync.Mutex
	kept   bool // Close is put off
	asked  bool // Close was called
	closed bool
}

func newRequestBody(rc io.ReadCloser) *requestBody {
	if rc == nil || rc == http.NoBody {
		return nil
	}
	return &requestBody{rc: rc}
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	b.lastRead.Store(clock())
	return n, err
}

// Close is called by the HTTP connection, and by whoever ends the request.
func (b *requestBody) Close() error {
	b.mu.Lock()
	b.asked = true
	now := !b.closed && (!b.kept || b.touched())
	b.closed = b.closed || now
	b.mu.Unlock()
	if now {
		return b.rc.Close()
	}
	return nil
}

func (b *requestBody) touched() bool { return b.lastRead.Load() != 0 }

// keep puts off the closing of an untouched body until release.
func (b *requestBody) keep() {
	if b != nil {
		b.mu.Lock()
		b.kept = true
		b.mu.Unlock()
	}
}

// release ends keep; with end, or if Close was called meanwhile, the body is closed.
func (b *requestBody) release(end bool) {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.kept = false
	asked := b.asked
	b.mu.Unlock()
	if end || asked {
		_ = b.Close()
	}
}

// A responseBody holds its generation until it ends, and names the reason if it breaks.
type responseBody struct {
	io.ReadCloser
	a     *attempt
	open  bool // its length was not said
	once  sync.Once
	short bool // it ended after the request's context, and perhaps for that
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.once.Do(func() {
			b.short = b.open && err == io.EOF && b.a.call.req.Context().Err() != nil
			b.a.end()
		})
		if err != io.EOF || b.short {
			err = b.a.bodyError(err)
		}
	}
	return n, err
}

func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.a.end)
	return err
}

// An upgradedBody is the body of a 101 answer, which is written to as well. It ends when it is closed.
type upgradedBody struct {
	*responseBody
	io.Writer
}

func (b upgradedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.a.bodyError(err)
	}
	return n, err
}

// CloseWrite ends the writing alone, as that of net/http.
func (b upgradedBody) CloseWrite() error {
	if half, ok := b.Writer.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
