package signer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/alphaonedev/federation/internal/fault"
)

// errTooLarge says that a body is over its cap.
var errTooLarge = errors.New("body is over the cap")

const chunkSize = 32 << 10

// digest hashes the request's own body without spending it.
func (s *Signer) digest(req *http.Request) (sum [sha256.Size]byte, err error) {
	if req.Body == nil || req.Body == http.NoBody {
		return sha256.Sum256(nil), nil
	}
	if req.GetBody == nil {
		c, err := s.takeBody(req)
		if err != nil {
			return sum, err
		}
		return c.sum, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return sum, fmt.Errorf("signer: GetBody: %w", err)
	}
	sum, n, err := s.hashBody(body, req.ContentLength)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return sum, s.bodyError(err)
	}
	if req.ContentLength > 0 && n != req.ContentLength {
		return sum, fmt.Errorf("signer: the body has %d bytes, ContentLength says %d: %w", n, req.ContentLength, fault.ErrConfig)
	}
	return sum, nil
}

func (s *Signer) hashBody(body io.Reader, length int64) (sum [sha256.Size]byte, n int64, err error) {
	if length > s.config.MaxBody {
		return sum, 0, errTooLarge
	}
	w := s.hashes.Get().(*cappedHash)
	defer s.hashes.Put(w)
	w.hash.Reset()
	w.left = s.config.MaxBody
	if n, err = io.CopyBuffer(w, body, w.chunk[:]); err == nil {
		copy(sum[:], w.hash.Sum(w.chunk[:0]))
	}
	return sum, n, err
}

// takeBody reads the request's own body and puts a copy in its place.
func (s *Signer) takeBody(req *http.Request) (*Content, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return NewContent(nil), nil
	}
	data, err := readWithin(req.Context(), req.Body, req.ContentLength, s.config.MaxBody)
	if cerr := req.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, s.bodyError(err)
	}
	if req.ContentLength > 0 && int64(len(data)) != req.ContentLength {
		return nil, fmt.Errorf("signer: the body has %d bytes, ContentLength says %d: %w", len(data), req.ContentLength, fault.ErrConfig)
	}
	c := NewContent(data)
	c.Attach(req)
	if len(req.Trailer) > 0 && len(data) > 0 {
		req.ContentLength = -1 // HTTP/1.1 sends trailers after chunks alone
	}
	return c, nil
}

func (s *Signer) bodyError(err error) error {
	if errors.Is(err, errTooLarge) {
		return fmt.Errorf("signer: the body is larger than MaxBody, %d bytes: %w", s.config.MaxBody, fault.ErrConfig)
	}
	return fmt.Errorf("signer: read the body: %w", err)
}

// readWithin is readAll for as long as the context lasts, whatever the body waits for.
func readWithin(ctx context.Context, r io.Reader, length, limit int64) ([]byte, error) {
	if ctx.Done() == nil {
		return readAll(r, length, limit)
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() { // ends with the read, which the closing of the body may end
		data, err := readAll(r, length, limit)
		done <- result{data, err}
	}()
	select {
	case got := <-done:
		return got.data, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	if length > limit {
		return nil, errTooLarge
	}
	var b bytes.Buffer
	if length > 0 {
		b.Grow(int(min(length, firstBuffer)) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = errTooLarge
	}
	return b.Bytes(), err
}

// cappedHash hashes up to a limit.
type cappedHash struct {
	hash  hash.Hash
	left  int64
	chunk [chunkSize]byte // for a body that has no WriteTo
}

func (c *cappedHash) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		return 0, errTooLarge
	}
	c.left -= int64(len(p))
	return c.hash.Write(p)
}

// firstBuffer is how much is set aside for a body on the word of its Content-Length alone.
const firstBuffer = 1 << 20
