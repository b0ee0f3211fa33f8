package signer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"time"
)

// readBody reads the body within the cap and digests it as it comes.
func (v *Verifier) readBody(req *http.Request, from *From, start time.Time, g *guard) ([]byte, [sha256.Size]byte, *Refusal) {
	limit := v.config.MaxBody
	if req.Body == nil || req.Body == http.NoBody {
		return nil, sha256.Sum256(nil), nil
	}
	v.watch.guard(g, req.Context(), req.Body, from.Response, v.config.BodyTimeout-v.config.Clock().Sub(start))
	data, sum, err := v.readDigest(req.Context(), req.Body, req.ContentLength, limit)
	late := g.end()
	switch {
	case err == nil:
		return data, sum, nil
	case late || req.Context().Err() != nil:
		return nil, noDigest, refuse(TagBodyStalled, "")
	}
	return nil, noDigest, bodyRefusal(err)
}

// readDigest reads to the end, and digests what it reads while that is still in the cache. It sets memory
// aside for what Content-Length promises up to firstBuffer, and for more only as it arrives.
func (v *Verifier) readDigest(ctx context.Context, r io.Reader, length, limit int64) (data []byte, sum [sha256.Size]byte, err error) {
	size := int64(chunkSize / 8)
	if length >= 0 {
		size = min(length, firstBuffer) + 1 // one more, to see the end without growing
	}
	data = v.buffers.get(int(size))
	var digest hash.Hash
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := r.Read(data[len(data):min(cap(data), len(data)+chunkSize)])
		fresh := data[len(data) : len(data)+n]
		data = data[:len(data)+n]
		if digest == nil && len(data) > chunkSize {
			digest = sha256.New()
			fresh = data
		}
		if digest != nil {
			digest.Write(fresh)
		}
		switch {
		case int64(len(data)) > limit:
			err = errTooLarge
		case err == io.EOF && digest == nil:
			return data, sha256.Sum256(data), nil
		case err == io.EOF:
			digest.Sum(sum[:0])
			return data, sum, nil
		case err == nil:
			err = ctx.Err()
		}
		if err != nil {
			v.buffers.put(data)
			return nil, sum, err
		}
	}
}

// noBody makes sure that there is none.
func (v *Verifier) noBody(req *http.Request, from *From, start time.Time) *Refusal {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	g := &guard{}
	v.watch.guard(g, req.Context(), req.Body, from.Response, v.config.BodyTimeout-v.config.Clock().Sub(start))
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

// verifiedBody is a body that was read.
type verifiedBody struct{ bytes.Reader }

func bodyOf(data []byte) *verifiedBody {
	b := &verifiedBody{}
	b.Reset(data)
	return b
}

func (*verifiedBody) Close() error { return nil }
