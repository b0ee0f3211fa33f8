package signer

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// Verify checks a request that arrived at a server and returns what it vouches for, or a *Refusal. In this
// order: the exact form of the header, the key (of this peer and no other), the time window, the signature,
// the body within MaxBody and its digest, and only then the nonce, so that a forged message costs one
// signature check and spends nothing. After success req.Body yields the verified body. After a refusal the
// request must not be acted upon; part of its body may be consumed, but after TagMemorySig it can be read again: another
// peer may have signed it.
func (v *Verifier) Verify(req *http.Request, from From) (*Verified, error) {
	var got *Verified
	var r *Refusal
	switch {
	case from.Peer == "":
		r = refuse(TagPeer, "")
	case from.Wire == WireFederation:
		got, r = v.verify(req, &from)
	case from.Wire == WireAIMemory:
		got, r = v.verifyMemory(req, &from)
	default:
		r = refuse(TagWire, from.Wire.String())
	}
	if r != nil {
		return nil, v.refused(from.Peer, r)
	}
	return got, nil
}

func (v *Verifier) verify(req *http.Request, from *From) (*Verified, *Refusal) {
	c := &checked{}
	if r := v.head(req, from, c, v.config.MaxBody); r != nil {
		return nil, r
	}
	if !c.in.body {
		if r := v.noBody(req, from, c.start); r != nil {
			return nil, r
		}
	} else {
		body, sum, r := v.readBody(req, from, c.start, &c.guard)
		if r != nil {
			return nil, r
		}
		if sum != c.sum {
			return nil, refuse(TagDigest, "")
		}
		c.got.Body, c.got.buffers = body, &v.buffers
	}
	if r := v.spend(req, c, v.config.BodyTimeout); r != nil {
		return nil, r
	}
	if c.in.body {
		c.body.Reset(c.got.Body)
		req.Body = &c.body
	}
	return &c.got, nil
}

// checked is a message of which everything but body and nonce has been verified.
type checked struct {
	in    signatureInput
	sum   [32]byte // what the body must have
	start time.Time
	got   Verified
	body  verifiedBody
	guard guard
}

// head checks everything that precedes the body.
func (v *Verifier) head(req *http.Request, from *From, c *checked, limit int64) *Refusal {
	var m message
	var sig [64]byte
	if r := v.parse(req, &m, c, &sig); r != nil {
		return r
	}
	if req.ContentLength > limit {
		return refuse(TagBodyTooLarge, "Content-Length")
	}
	if !v.config.Recipient(m.to) {
		return refuse(TagRecipient, m.to)
	}
	key, err := v.config.Keys.Key(req.Context(), from.Peer, c.in.keyID)
	if err != nil {
		return keyRefusal(err)
	}
	if !v.ownKeys { // a foreign source may be wrong
		if t := thumbprint(key); string(t[:]) != c.in.keyID {
			return refuse(TagKeyUnknown, "the key source returned another key")
		}
	}
	c.start = v.config.Clock()
	if r := v.window(&c.in, c.start); r != nil {
		return r
	}
	var room [baseRoom]byte
	if !holds(key, m.appendBase(room[:0], c.in.params), sig[:]) {
		return refuse(TagSignature, "")
	}
	created := time.Unix(c.in.created, 0)
	c.got = Verified{
		Peer: from.Peer, Wire: WireFederation, KeyID: c.in.keyID, Key: key, To: m.to, Operation: m.op,
		Created: created, Expires: time.Unix(c.in.expires, 0), Skew: created.Sub(c.start), Digest: c.sum,
	}
	if m.op == noOperation {
		c.got.Operation = ""
	}
	return nil
}

// parse checks the exact form of the header. It does nothing whose cost the sender controls beyond the
// limits.
func (v *Verifier) parse(req *http.Request, m *message, c *checked, sig *[64]byte) *Refusal {
	h := req.Header
	if len(h[HeaderMemorySig])+len(h[HeaderMemoryNonce]) > 0 {
		return refuse(TagWire, "the peer speaks the federation wire, the message has an x-memory field")
	}
	input, r := signatureField(h, HeaderSignatureInput)
	if r != nil {
		return r
	}
	signature, r := signatureField(h, HeaderSignature)
	if r != nil {
		return r
	}
	var tag Tag
	if c.in, tag = parseInput(input); tag != "" {
		return refuse(tag, HeaderSignatureInput)
	}
	if tag := parseSignature(signature, sig); tag != "" {
		return refuse(tag, HeaderSignature)
	}
	if r := v.parseLine(req, m); r != nil {
		return r
	}
	if m.to, tag = textField(h, HeaderTo, maxTo); tag != "" {
		return refuse(tag, HeaderTo)
	}
	if m.op, tag = textField(h, HeaderOperation, maxOperation); tag != "" {
		return refuse(tag, HeaderOperation)
	}
	if len(h["Content-Encoding"]) > 0 {
		return refuse(TagEncoding, "")
	}
	m.body = c.in.body
	return v.parseContent(req, m, c)
}

func (v *Verifier) parseContent(req *http.Request, m *message, c *checked) *Refusal {
	h := req.Header
	if !m.body {
		if len(h["Content-Type"])+len(h[HeaderContentDigest]) > 0 || req.ContentLength > 0 {
			return refuse(TagBodyUnsigned, "")
		}
		return nil
	}
	var tag Tag
	if m.contentType, tag = single(h, "Content-Type", TagFieldMissing, TagFieldDoubled); tag != "" {
		return refuse(tag, "Content-Type")
	}
	if len(m.contentType) > maxContentType {
		return refuse(TagFieldOversized, "Content-Type")
	}
	if !fieldText(m.contentType) {
		return refuse(TagFieldMalformed, "Content-Type")
	}
	if m.digest, tag = single(h, HeaderContentDigest, TagDigestMissing, TagFieldDoubled); tag != "" {
		return refuse(tag, HeaderContentDigest)
	}
	if len(m.digest) > maxSignatureField {
		return refuse(TagFieldOversized, HeaderContentDigest)
	}
	if tag := parseDigest(m.digest, &c.sum); tag != "" {
		return refuse(tag, HeaderContentDigest)
	}
	return nil
}

// parseLine reads what the request line and Host say.
func (v *Verifier) parseLine(req *http.Request, m *message) *Refusal {
	if m.method = req.Method; !validMethod(m.method) {
		return refuse(TagTarget, "method")
	}
	target := req.RequestURI // as received, whatever a handler on the way made of the URL
	if target == "" && req.URL != nil {
		target = req.URL.RequestURI()
	}
	var ok bool
	if m.path, m.query, ok = splitTarget(target); !ok {
		return refuse(TagTarget, "request target")
	}
	if v.config.Authority != "" {
		m.authority = v.config.Authority
		return nil
	}
	scheme := "https"
	if req.TLS == nil {
		scheme = "http"
	}
	if m.authority, ok = canonicalAuthority(req.Host, scheme); !ok {
		return refuse(TagAuthority, "Host")
	}
	// HTTP/2 has :authority, which req.Host is, and may have Host beside it (RFC 9113 section 8.3.1).
	if h := req.Header["Host"]; len(h) > 1 || len(h) == 1 && h[0] != req.Host {
		return refuse(TagAuthority, "Host differs from :authority")
	}
	return nil
}

// window checks created and expires against the clock, and against the beginning of our memory.
func (v *Verifier) window(in *signatureInput, now time.Time) *Refusal {
	created, expires := time.Unix(in.created, 0), time.Unix(in.expires, 0)
	skew := v.config.Skew
	switch {
	case in.expires <= in.created || expires.Sub(created) > v.config.MaxAge:
		return refuse(TagWindow, fmt.Sprintf("created %d, expires %d", in.created, in.expires))
	case created.After(now.Add(skew)):
		r := refuse(TagFuture, fmt.Sprintf("created %v ahead of our clock", created.Sub(now)))
		r.Skew = created.Sub(now)
		return r
	case !now.Before(expires.Add(skew)):
		r := refuse(TagExpired, fmt.Sprintf("expired %v ago by our clock", now.Sub(expires)))
		r.Skew = created.Sub(now)
		return r
	}
	// A process before this one may have accepted any message that was created up to skew after it ended.
	// The epoch proves that this one was not.
	if !v.since.IsZero() && !created.After(v.since.Add(skew)) && epoch(in.nonce[:epochSize]) != v.epoch {
		return &Refusal{Tag: TagSignAgain, Status: status(TagSignAgain), Epoch: v.epoch.String()}
	}
	return nil
}

// spend uses up the nonce of a message whose body had limit to arrive. It is remembered for as long as
// another copy could pass every other check: that copy may arrive at the end of the window, and its body
// may still take its time.
func (v *Verifier) spend(req *http.Request, c *checked, limit time.Duration) *Refusal {
	if v.config.Clock().Sub(c.start) > limit {
		return refuse(TagBodyStalled, "")
	}
	keep := c.got.Expires.Add(v.config.Skew + max(v.config.BodyTimeout, v.config.StreamTimeout))
	return spend(req.Context(), v.config.Replay, c.in.keyID, c.in.nonce, keep)
}

// refused counts and reports a refusal.
func (v *Verifier) refused(peer string, r *Refusal) *Refusal {
	v.refusals.add(r.Tag)
	if v.config.OnRefusal != nil {
		v.config.OnRefusal(peer, r)
	}
	return r
}

// Refusals is how many messages were refused so far, by tag; tags that never were are left out.
func (v *Verifier) Refusals() map[Tag]uint64 { return v.refusals.all() }

func refuse(tag Tag, what string) *Refusal {
	r := &Refusal{Tag: tag, Status: status(tag)}
	if what != "" {
		r.Err = errors.New(what)
	}
	return r
}

func keyRefusal(err error) *Refusal {
	tag := TagKeyUnavailable
	if errors.Is(err, fault.ErrNotFound) {
		tag = TagKeyUnknown
	}
	return &Refusal{Tag: tag, Status: status(tag), Err: err}
}

// single takes the value of a field that is there once.
func single(h http.Header, name string, missing, doubled Tag) (string, Tag) {
	switch v := h[name]; len(v) {
	case 0:
		return "", missing
	case 1:
		return v[0], ""
	}
	return "", doubled
}

func textField(h http.Header, name string, limit int) (string, Tag) {
	s, tag := single(h, name, TagFieldMissing, TagFieldDoubled)
	switch {
	case tag != "":
		return "", tag
	case len(s) > limit:
		return "", TagFieldOversized
	case !visible(s, limit):
		return "", TagFieldMalformed
	}
	return s, ""
}

func signatureField(h http.Header, name string) (string, *Refusal) {
	s, tag := single(h, name, TagSignatureMissing, TagSignatureDoubled)
	switch {
	case tag != "":
	case s == "":
		tag = TagSignatureEmpty
	case len(s) > maxSignatureField:
		tag = TagSignatureOversized
	default:
		return s, nil
	}
	return "", refuse(tag, name)
}
