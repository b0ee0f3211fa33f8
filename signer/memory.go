package signer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	memorySigHead = "ed25519="
	uuidLen       = 36
	maxMemorySig  = 512
	// maxMemoryKeys bounds the signature checks that one message can cost.
	maxMemoryKeys = MaxDirectoryKeys
)

// signMemory signs body || 0x00 || nonce.
func (s *Signer) signMemory(req *http.Request, to *Audience, nonce Nonce) error {
	if s.config.PeerID == "" {
		return fmt.Errorf("signer: the ai-memory wire needs Config.PeerID: %w", fault.ErrConfig)
	}
	if to.Epoch != "" {
		return fmt.Errorf("signer: the ai-memory wire has no Epoch: %w", fault.ErrConfig)
	}
	c := to.Content
	if c != nil {
		c.Attach(req)
	} else {
		var err error
		if c, err = s.memoryBody(req); err != nil {
			return err
		}
	}
	if opensAsStatement(c.data) {
		return fmt.Errorf("signer: a body that opens with 0xff cannot be signed on the ai-memory wire: %w", fault.ErrConfig)
	}
	uuid := uuid4(nonce)
	sig, err := signChecked(req.Context(), s.config.Key, s.public, memoryBytes(c.data, uuid))
	if err != nil {
		return err
	}
	h := req.Header
	h[HeaderMemorySig] = []string{memorySigHead + base64.StdEncoding.EncodeToString(sig)}
	h[HeaderMemoryNonce] = []string{uuid}
	h[HeaderPeerID] = []string{s.config.PeerID}
	delete(h, HeaderIdempotencyKey)
	if to.Operation != "" {
		h[HeaderIdempotencyKey] = []string{to.Operation}
	}
	for _, name := range [...]string{HeaderSignatureInput, HeaderSignature, HeaderContentDigest, HeaderTo, HeaderOperation} {
		delete(h, name)
	}
	// net/http repeats a request that has an Idempotency-Key and a body that can be had again, with the
	// same nonce, which the peer must refuse.
	req.GetBody = nil
	return nil
}

func (s *Signer) memoryBody(req *http.Request) (*Content, error) {
	if req.GetBody != nil && req.Body != nil && req.Body != http.NoBody {
		_ = req.Body.Close() // GetBody gives another
		var err error
		if req.Body, err = req.GetBody(); err != nil {
			return nil, fmt.Errorf("signer: GetBody: %w", err)
		}
	}
	return s.takeBody(req)
}

// opensAsStatement finds a body whose signature could be that of a statement.
func opensAsStatement(body []byte) bool { return len(body) > 0 && body[0] == statementPrefix[0] }

func memoryBytes(body []byte, nonce string) []byte {
	b := make([]byte, 0, len(body)+1+len(nonce))
	b = append(b, body...)
	b = append(b, 0)
	return append(b, nonce...)
}

func uuid4(n Nonce) string {
	n[6] = n[6]&0x0f | 0x40
	n[8] = n[8]&0x3f | 0x80
	var b [uuidLen]byte
	i := 0
	for part := range 5 {
		if part > 0 {
			b[i] = '-'
			i++
		}
		from, to := uuidParts[part], uuidParts[part+1]
		i += hex.Encode(b[i:], n[from:to])
	}
	return string(b[:])
}

var uuidParts = [...]int{0, 4, 6, 8, 10, 16}

// parseUUID takes the form with hyphens, in either case.
func parseUUID(s string) (n Nonce, ok bool) {
	if len(s) != uuidLen {
		return n, false
	}
	i := 0
	for part := range 5 {
		if part > 0 {
			if s[i] != '-' {
				return n, false
			}
			i++
		}
		from, to := uuidParts[part], uuidParts[part+1]
		if _, err := hex.Decode(n[from:to], []byte(s[i:i+2*(to-from)])); err != nil {
			return n, false
		}
		i += 2 * (to - from)
	}
	return n, true
}

// parseMemorySig takes "ed25519=<padded base64>", with parameters after a semicolon, which mean nothing.
func parseMemorySig(s string, sig *[64]byte) bool {
	if len(s) > maxMemorySig || s != "" && !fieldText(s) {
		return false
	}
	s, _, _ = strings.Cut(s, ";")
	s = strings.TrimRight(s, " ")
	value, ok := strings.CutPrefix(s, memorySigHead)
	return ok && decodeFixed(sig[:], value)
}

// memoryHeader is what the header of a message on the ai-memory wire says.
type memoryHeader struct {
	sig       [64]byte
	nonce     Nonce
	nonceText string
	peerID    string
	operation string
}

func (v *Verifier) memoryHeader(req *http.Request, from *From) (m memoryHeader, r *Refusal) {
	h := req.Header
	if len(h[HeaderSignature])+len(h[HeaderSignatureInput]) > 0 {
		return m, refuse(TagWire, "the peer speaks the ai-memory wire, the message has a Signature field")
	}
	if len(h["Content-Encoding"]) > 0 {
		return m, refuse(TagEncoding, "")
	}
	var tag Tag
	var value string
	if value, tag = single(h, HeaderMemorySig, TagMemorySigMissing, TagMemorySigMalformed); tag != "" {
		return m, refuse(tag, HeaderMemorySig)
	}
	if !parseMemorySig(value, &m.sig) {
		return m, refuse(TagMemorySigMalformed, HeaderMemorySig)
	}
	if m.nonceText, tag = single(h, HeaderMemoryNonce, TagMemoryNonceMissing, TagMemoryNonce); tag != "" {
		return m, refuse(tag, HeaderMemoryNonce)
	}
	var ok bool
	if m.nonce, ok = parseUUID(m.nonceText); !ok {
		return m, refuse(TagMemoryNonce, HeaderMemoryNonce)
	}
	if m.peerID, tag = single(h, HeaderPeerID, TagMemoryPeerMissing, TagFieldDoubled); tag != "" {
		return m, refuse(tag, HeaderPeerID)
	}
	if !visible(m.peerID, maxTo) {
		return m, refuse(TagFieldMalformed, HeaderPeerID)
	}
	if len(h[HeaderIdempotencyKey]) > 0 {
		if m.operation, tag = single(h, HeaderIdempotencyKey, TagFieldMissing, TagFieldDoubled); tag != "" {
			return m, refuse(tag, HeaderIdempotencyKey)
		}
		if !visible(m.operation, maxOperation) {
			return m, refuse(TagFieldMalformed, HeaderIdempotencyKey)
		}
	}
	if from.PeerID != "" && from.PeerID != m.peerID {
		return m, refuse(TagMemorySender, fmt.Sprintf("x-peer-id is %.80q, want %q", m.peerID, from.PeerID))
	}
	return m, nil
}

func (v *Verifier) verifyMemory(req *http.Request, from *From) (*Verified, *Refusal) {
	m, r := v.memoryHeader(req, from)
	if r != nil {
		return nil, r
	}
	if req.ContentLength > v.config.MaxBody {
		return nil, refuse(TagBodyTooLarge, "")
	}
	ctx := req.Context()
	keys, err := v.config.Keys.Keys(ctx, from.Peer)
	if err != nil {
		return nil, keyRefusal(err)
	}
	if len(keys) == 0 {
		return nil, refuse(TagKeyUnknown, "no keys")
	}
	start := v.config.Clock()
	body, sum, r := v.readBody(req, from, start, &guard{})
	if r != nil {
		return nil, r
	}
	if opensAsStatement(body) {
		return nil, refuse(TagMemorySig, "the body opens as a statement does")
	}
	signed := memoryBytes(body, m.nonceText)
	key := holder(keys, signed, m.sig[:])
	// The wire names no key: it may be one that the peer has taken since it was asked.
	if d, ok := v.config.Keys.(*KeyDirectory); ok && key == nil && d.again(ctx, from.Peer) {
		if keys, err = d.Keys(ctx, from.Peer); err == nil {
			key = holder(keys, signed, m.sig[:])
		}
	}
	if key == nil {
		req.Body = bodyOf(body)
		return nil, refuse(TagMemorySig, "")
	}
	if sender, found, err := senderAgentID(body); err != nil {
		return nil, &Refusal{Tag: TagMemorySender, Status: status(TagMemorySender), Err: err}
	} else if found && sender != m.peerID {
		return nil, refuse(TagMemorySender, fmt.Sprintf("sender_agent_id is %.80q, x-peer-id %.80q", sender, m.peerID))
	}
	id := Thumbprint(key)
	keep := start.Add(v.config.AIMemoryWindow)
	if r := spend(ctx, v.memoryReplay(), id, m.nonce, keep); r != nil {
		if r.Tag == TagReplayed {
			r.Tag = TagMemoryReplay
		}
		return nil, r
	}
	req.Body = bodyOf(body)
	return &Verified{
		Peer: from.Peer, Wire: WireAIMemory, KeyID: id, Key: key,
		Operation: m.operation, PeerID: m.peerID, Digest: sum, Body: body, buffers: &v.buffers,
	}, nil
}

// holder is the key under which a signature holds, or nil.
func holder(keys []ed25519.PublicKey, signed, sig []byte) ed25519.PublicKey {
	for _, k := range keys[:min(len(keys), maxMemoryKeys)] {
		if holds(k, signed, sig) {
			return k
		}
	}
	return nil
}

// memoryReplay makes the default memory when the first message of that wire arrives.
func (v *Verifier) memoryReplay() ReplayStore {
	v.memoryOnce.Do(func() {
		if v.config.AIMemoryReplay == nil {
			v.config.AIMemoryReplay = newReplayCache(ReplayCacheConfig{Window: v.config.AIMemoryWindow, Clock: v.config.Clock})
		}
	})
	return v.config.AIMemoryReplay
}

// senderAgentID finds the member sender_agent_id of a JSON object. Anything that two parsers could read
// in two ways is an error: the member twice, or in another case, or as anything but a string.
func senderAgentID(body []byte) (id string, found bool, err error) {
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return "", false, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		return "", false, errors.New("body is not JSON")
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return "", false, errors.New("body is not JSON")
		}
		if !strings.EqualFold(name, "sender_agent_id") {
			var skip json.RawMessage
			if err := d.Decode(&skip); err != nil {
				return "", false, errors.New("body is not JSON")
			}
			continue
		}
		var value *string
		if err := d.Decode(&value); err != nil || value == nil || found || name != "sender_agent_id" {
			return "", false, errors.New("sender_agent_id is not one string")
		}
		id, found = *value, true
	}
	if _, err := d.Token(); err != nil {
		return "", false, errors.New("body is not JSON")
	}
	return id, found, nil
}

func spend(ctx context.Context, store ReplayStore, keyID string, nonce Nonce, keep time.Time) *Refusal {
	err := store.Spend(ctx, keyID, nonce, keep)
	tag := TagReplayUnavailable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrReplayed):
		tag = TagReplayed
	case errors.Is(err, ErrReplayFull):
		tag = TagReplayFull
	case errors.Is(err, ErrReplayQuota):
		tag = TagReplayQuota
	}
	return &Refusal{Tag: tag, Status: status(tag), Err: err}
}

// noDigest is the Digest of a message without a body.
var noDigest [sha256.Size]byte
