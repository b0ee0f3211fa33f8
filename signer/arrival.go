package signer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// A guard ends a read that stalls: when the context ends, or after limit. Where there is a response, it
// moves the connection's read deadline, which is all that stops a read on HTTP/1.1; otherwise it closes
// the body, which stops one on HTTP/2 and on pipes.
type guard struct {
	control *http.ResponseController
	fired   atomic.Bool
	stop    func() bool
	timer   *time.Timer
}

func newGuard(ctx context.Context, body io.Closer, w http.ResponseWriter, limit time.Duration) *guard {
	g := &guard{}
	if w != nil {
		control := http.NewResponseController(w)
		if control.SetReadDeadline(time.Now().Add(limit)) == nil {
			g.control = control
		}
	}
	cut := func() {
		g.fired.Store(true)
		if g.control != nil {
			_ = g.control.SetReadDeadline(time.Unix(1, 0))
			return
		}
		_ = body.Close()
	}
	if ctx.Done() != nil {
		g.stop = context.AfterFunc(ctx, cut)
	}
	if g.control == nil {
		g.timer = time.AfterFunc(limit, cut)
	}
	return g
}

// end lifts the guard and reports whether it had to act.
func (g *guard) end() (late bool) {
	if g.stop != nil {
		g.stop()
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	if g.control != nil && !g.fired.Load() {
		_ = g.control.SetReadDeadline(time.Time{})
	}
	return g.fired.Load()
}

// readBody reads the body within the cap and digests it as it comes.
func (v *Verifier) readBody(req *http.Request, from *From, start time.Time) ([]byte, [sha256.Size]byte, *Refusal) {
	limit := v.config.MaxBody
	if req.Body == nil || req.Body == http.NoBody {
		return nil, sha256.Sum256(nil), nil
	}
	g := newGuard(req.Context(), req.Body, from.Response, v.config.BodyTimeout-v.config.Clock().Sub(start))
	data, sum, err := readDigest(req.Context(), req.Body, req.ContentLength, limit)
	late := g.end()
	switch {
	case err == nil:
		return data, sum, nil
	case late || req.Context().Err() != nil:
		return nil, noDigest, refuse(TagBodyStalled, "")
	}
	return nil, noDigest, bodyRefusal(err)
}

// readDigest reads to the end. It sets memory aside for what Content-Length promises up to firstBuffer,
// and for more only as it arrives.
func readDigest(ctx context.Context, r io.Reader, length, limit int64) (data []byte, sum [sha256.Size]byte, err error) {
	size := int64(chunkSize / 8)
	if length >= 0 {
		size = min(length, firstBuffer) + 1 // one more, to see the end without growing
	}
	hash := sha256.New()
	data = make([]byte, 0, size)
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := r.Read(data[len(data):min(cap(data), len(data)+chunkSize)])
		hash.Write(data[len(data) : len(data)+n])
		data = data[:len(data)+n]
		if int64(len(data)) > limit {
			return nil, sum, errTooLarge
		}
		if err == io.EOF {
			hash.Sum(sum[:0])
			return data[:len(data):len(data)], sum, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, sum, err
		}
	}
}

// noBody makes sure that there is none.
func (v *Verifier) noBody(req *http.Request, from *From, start time.Time) *Refusal {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	g := newGuard(req.Context(), req.Body, from.Response, v.config.BodyTimeout-v.config.Clock().Sub(start))
	var one [1]byte
	n, err := io.ReadFull(req.Body, one[:])
	late := g.end()
	switch {
	case n > 0:
		return refuse(TagBodyUnsigned, "")
	case err == io.EOF:
		return nil
	case late || req.Context().Err() != nil:
		return refuse(TagBodyStalled, "")
	}
	return bodyRefusal(err)
}

func bodyRefusal(err error) *Refusal {
	tag := TagBodyUnreadable
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errTooLarge) || errors.As(err, &tooLarge):
		tag = TagBodyTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		tag = TagBodyStalled
	}
	return &Refusal{Tag: tag, Status: status(tag), Err: err}
}

// verifiedBody is a body whose digest is right.
type verifiedBody struct{ bytes.Reader }

func newVerifiedBody(data []byte) *verifiedBody {
	b := &verifiedBody{}
	b.Reset(data)
	return b
}

func (*verifiedBody) Close() error { return nil }
