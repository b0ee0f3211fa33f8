package signer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/alphaonedev/federation/internal/fault"
)

// VerifyStream is Verify for a body that is too large to hold: it checks everything up to the signature and
// leaves the body to the caller, digested as it is read and capped at limit bytes (0: MaxBody). Reading
// req.Body to its end completes the verification: the last Read returns io.EOF if the digest is right and
// the nonce is spent, and a *Refusal otherwise. Nothing that was read counts before that io.EOF.
// Verified.Digest is what the sender signed. Only the federation wire can be streamed; another matches
// ErrUnsupported.
func (v *Verifier) VerifyStream(req *http.Request, from From, limit int64) (*Verified, error) {
	if from.Wire != WireFederation {
		return nil, fmt.Errorf("signer: the %v wire cannot be streamed: %w", from.Wire, fault.ErrUnsupported)
	}
	if limit <= 0 {
		limit = v.config.MaxBody
	}
	if from.Peer == "" {
		return nil, v.refused("", refuse(TagPeer, ""))
	}
	b := &streamBody{verifier: v, req: req, from: from, left: limit}
	if r := v.head(req, &from, &b.checked, limit); r != nil {
		return nil, v.refused(from.Peer, r)
	}
	if !b.checked.in.body {
		r := v.noBody(req, &from, b.checked.start)
		if r == nil {
			r = v.spend(req, &b.checked, v.config.BodyTimeout)
		}
		if r != nil {
			return nil, v.refused(from.Peer, r)
		}
		return &b.checked.got, nil
	}
	b.hash = sha256.New()
	if b.body = req.Body; b.body == nil {
		b.body = http.NoBody
	}
	req.Body = b
	return &b.checked.got, nil
}

// streamBody verifies a body as it is read. Like any body it is read by one goroutine.
type streamBody struct {
	verifier *Verifier
	req      *http.Request
	from     From
	checked  checked
	body     io.ReadCloser
	hash     hash.Hash
	left     int64
	err      error // sticky
}

func (b *streamBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	v := b.verifier
	deadline := b.checked.start.Add(v.config.StreamTimeout)
	g := &b.checked.guard
	v.watch.guard(g, b.req.Context(), b.body, b.from.Response, min(v.config.BodyTimeout, deadline.Sub(v.config.Clock())))
	n, err := b.body.Read(p)
	late := g.end()
	if int64(n) > b.left {
		return 0, b.refuse(refuse(TagBodyTooLarge, ""))
	}
	b.left -= int64(n)
	b.hash.Write(p[:n])
	switch {
	case err == nil && v.config.Clock().Before(deadline) && b.req.Context().Err() == nil:
		return n, nil
	case err == nil || late:
		return 0, b.refuse(refuse(TagBodyStalled, ""))
	case errors.Is(err, io.EOF):
		return n, b.finish()
	}
	return 0, b.refuse(bodyRefusal(err))
}

// finish gives the verdict at the end of the body.
func (b *streamBody) finish() error {
	var sum [sha256.Size]byte
	if b.hash.Sum(sum[:0]); sum != b.checked.sum {
		return b.refuse(refuse(TagDigest, ""))
	}
	if r := b.verifier.spend(b.req, &b.checked, b.verifier.config.StreamTimeout); r != nil {
		return b.refuse(r)
	}
	b.err = io.EOF
	return io.EOF
}

func (b *streamBody) refuse(r *Refusal) error {
	b.err = b.verifier.refused(b.from.Peer, r)
	return b.err
}

// Close closes the body under it. A message whose body was not read to the end is not verified, and its
// nonce is not spent.
func (b *streamBody) Close() error {
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	return b.body.Close()
}
