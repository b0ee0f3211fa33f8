package signer

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
)

// Content is a body that was digested once and can be sent to many peers. It is immutable and safe for
// concurrent use.
type Content struct {
	data   []byte
	sum    [sha256.Size]byte
	header string
}

// NewContent digests a body. The caller must not change data from then on.
func NewContent(data []byte) *Content {
	sum := sha256.Sum256(data)
	return &Content{data: data, sum: sum, header: contentDigest(sum)}
}

// Bytes is the body; it must not be changed.
func (c *Content) Bytes() []byte { return c.data }

// Digest is the SHA-256 of the body.
func (c *Content) Digest() [sha256.Size]byte { return c.sum }

// Attach makes c the body of a request: it sets Body, GetBody and ContentLength.
func (c *Content) Attach(req *http.Request) {
	req.ContentLength = int64(len(c.data))
	if len(c.data) == 0 {
		req.Body = http.NoBody
		req.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
		return
	}
	req.Body = io.NopCloser(bytes.NewReader(c.data))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.data)), nil }
}

const (
	digestHead = "sha-256=:"
	digestLen  = len(digestHead) + 44 + 1
)

// contentDigest is the value of the Content-Digest field (RFC 9530 section 2).
func contentDigest(sum [sha256.Size]byte) string {
	var b [digestLen]byte
	n := copy(b[:], digestHead)
	base64.StdEncoding.Encode(b[n:], sum[:])
	b[digestLen-1] = ':'
	return string(b[:])
}
