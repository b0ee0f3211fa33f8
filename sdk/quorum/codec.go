package quorum

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// The encodings are strict: each value has exactly one, so that what parses encodes to the same bytes.
// Numbers are big-endian; a string is two bytes of length and its bytes. docs/wire-push.md specifies them.

const (
	ackVersion     = 1
	receiptVersion = 1
	receiptMagic   = "FQR"
	signatureLen   = 64
	keyIDLen       = 32 // of the raw hash; 43 characters in base64url
)

// AppendBinary appends the encoding of the ack, its proof included, and returns the longer slice. It fails
// on a field that cannot be encoded, with an error that matches ErrMalformed.
func (a *Ack) AppendBinary(b []byte) ([]byte, error) {
	if err := a.validate(); err != nil {
		return nil, fmt.Errorf("quorum: ack: %w: %w", ErrMalformed, err)
	}
	b = a.appendStatement(b)
	if a.Proof == nil {
		return append(b, 0), nil
	}
	return a.Proof.append(append(b, 1))
}

// MarshalBinary returns the encoding of the ack.
func (a *Ack) MarshalBinary() ([]byte, error) { return a.AppendBinary(nil) }

// appendStatement appends what a proof covers. The fields are valid.
func (a *Ack) appendStatement(b []byte) []byte {
	b = append(b, ackVersion, byte(a.Verdict))
	b = binary.BigEndian.AppendUint64(b, uint64(a.Time.UnixMilli()))
	b = append(b, a.Digest[:]...)
	b = appendString(b, a.Operation)
	b = appendString(b, a.Sender)
	return appendString(b, a.Recipient)
}

func (p *Proof) append(b []byte) ([]byte, error) {
	id, err := base64.RawURLEncoding.Strict().DecodeString(p.KeyID)
	if err != nil || len(id) != keyIDLen {
		return nil, fmt.Errorf("quorum: ack: %w: key id %q is no thumbprint", ErrMalformed, p.KeyID)
	}
	if len(p.Signature) != signatureLen || len(p.Path) > MaxPath || int(p.Index)>>len(p.Path) != 0 {
		return nil, fmt.Errorf("quorum: ack: %w: proof with a signature of %d bytes, index %d, path %d", ErrMalformed, len(p.Signature), p.Index, len(p.Path))
	}
	b = append(b, id...)
	b = binary.BigEndian.AppendUint16(b, p.Index)
	b = append(b, byte(len(p.Path)))
	for i := range p.Path {
		b = append(b, p.Path[i][:]...)
	}
	return append(b, p.Signature...), nil
}

// ParseAck parses one ack and refuses anything after it. Errors match ErrTruncated, ErrMalformed or
// ErrVersion. The ack keeps nothing of b. A parsed ack is not a verified one.
func ParseAck(b []byte) (*Ack, error) {
	a, rest, err := CutAck(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("quorum: ack: %w: %d bytes after it", ErrMalformed, len(rest))
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// CutAck parses the ack that b starts with and returns what follows it. Errors are ParseAck's.
func CutAck(b []byte) (*Ack, []byte, error) {
	r := reader{b: b}
	a := &Ack{}
	if v := r.byte(); r.err == nil && v != ackVersion {
		return nil, nil, fmt.Errorf("quorum: ack: %w %d, want %d", ErrVersion, v, ackVersion)
	}
	a.Verdict = Verdict(r.byte())
	a.Time = r.time()
	copy(a.Digest[:], r.take(len(a.Digest)))
	a.Operation = r.string()
	a.Sender = r.string()
	a.Recipient = r.string()
	switch kind := r.byte(); {
	case r.err != nil:
	case kind == 1:
		a.Proof = r.proof()
	case kind != 0:
		r.fail("proof kind %d", kind)
	}
	if r.err == nil {
		if err := a.validate(); err != nil {
			r.fail("%w", err)
		}
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("quorum: ack: %w", r.err)
	}
	return a, r.b, nil
}

// A reader takes values off a slice and keeps the first error.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrMalformed, fmt.Errorf(format, args...))
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.b) < n {
		r.err = ErrTruncated
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) string() string { return string(r.take(int(r.uint16()))) }

func (r *reader) time() time.Time {
	b := r.take(8)
	if b == nil {
		return time.Time{}
	}
	ms := binary.BigEndian.Uint64(b)
	if ms == 0 || ms > maxMillis {
		r.fail("time of %d ms", ms)
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

func (r *reader) proof() *Proof {
	p := &Proof{KeyID: base64.RawURLEncoding.EncodeToString(r.take(keyIDLen))}
	p.Index = r.uint16()
	n := int(r.byte())
	if n > MaxPath || int(p.Index)>>n != 0 {
		r.fail("proof with index %d and a path of %d, want at most %d", p.Index, n, MaxPath)
		return nil
	}
	if n > 0 && r.err == nil {
		p.Path = make([]Hash, n)
	}
	for i := range p.Path {
		copy(p.Path[i][:], r.take(len(p.Path[i])))
	}
	p.Signature = append([]byte(nil), r.take(signatureLen)...)
	return p
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}
