package sdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
)

// The encodings of the federation wire for batches, answers and pages; docs/wire-push.md specifies them.
// Numbers are big-endian, a string is two bytes of length and its bytes, and each value has one encoding.

// The media types of the federation wire.
const (
	mediaBatch  = "application/vnd.federation.batch"
	mediaAnswer = "application/vnd.federation.answer"
	mediaPage   = "application/vnd.federation.page"
)

const (
	batchMagic  = "FPB\x01"
	answerMagic = "FPA\x01"
	pageMagic   = "FPG\x01"
)

// The limits of a batch. A sender stays below them; a receiver refuses what is above.
const (
	maxBatch      = 64
	maxBatchBytes = 256 << 10 // of bodies; a batch of one may be larger
	maxReason     = 256
	maxCursor     = 1024
)

var errWire = errors.New("malformed")

// A turn is the place of a batch in a stream of batches that are to be applied in order although several are
// on their way at once. The zero turn has no place.
type turn struct {
	stream uint64
	base   uint32 // what is before it has been answered
	index  uint32
}

var turn0 turn

func encodeBatch(letters []*letter, t turn) []byte {
	size := len(batchMagic) + 16 + 2 + len(letters[0].sender) + 2
	for _, l := range letters {
		size += 2 + len(l.Operation) + 2 + len(l.ContentType) + 8 + 4 + len(l.Body)
	}
	b := make([]byte, 0, size)
	b = append(b, batchMagic...)
	b = binary.BigEndian.AppendUint64(b, t.stream)
	b = binary.BigEndian.AppendUint32(b, t.base)
	b = binary.BigEndian.AppendUint32(b, t.index)
	b = appendString(b, letters[0].sender)
	return appendLetters(b, letters)
}

func appendLetters(b []byte, letters []*letter) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(letters)))
	for _, l := range letters {
		b = appendString(b, l.Operation)
		b = appendString(b, l.ContentType)
		b = binary.BigEndian.AppendUint64(b, uint64(l.created.UnixMilli()))
		b = binary.BigEndian.AppendUint32(b, uint32(len(l.Body)))
		b = append(b, l.Body...)
	}
	return b
}

// parseBatch parses what encodeBatch made. The letters share b.
func parseBatch(b []byte) ([]*letter, turn, error) {
	r := wireReader{b: b}
	r.magic(batchMagic)
	t := turn{stream: r.uint64(), base: r.uint32(), index: r.uint32()}
	if t.base > t.index || t.stream == 0 && t != turn0 {
		r.fail("turn %+v", t)
	}
	sender := r.string(quorum.MaxID)
	if r.err == nil {
		if err := quorum.ValidID(sender); err != nil {
			r.fail("sender: %w", err)
		}
	}
	letters := r.letters(sender)
	if r.err == nil && len(letters) == 0 {
		r.fail("no messages")
	}
	return letters, t, r.end("batch")
}

// The states of one message in an answer.
const (
	stateAcked     = 1 // an ack follows
	stateTemporary = 2 // a reason follows: try again later
	statePermanent = 3 // a reason follows: it will not be taken
	stateConflict  = 4 // a reason follows: the operation id is known with another digest
)

// A wireReply is the answer to one message.
type wireReply struct {
	state  byte
	ack    *quorum.Ack // of stateAcked
	reason string      // of the others
}

func encodeAnswer(replies []wireReply) ([]byte, error) {
	b := append(make([]byte, 0, 16+len(replies)*320), answerMagic...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(replies)))
	for _, r := range replies {
		b = append(b, r.state)
		if r.state != stateAcked {
			b = appendString(b, r.reason[:min(len(r.reason), maxReason)])
			continue
		}
		var err error
		if b, err = r.ack.AppendBinary(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// parseAnswer parses the answer to a batch of n messages.
func parseAnswer(b []byte, n int) ([]wireReply, error) {
	r := wireReader{b: b}
	r.magic(answerMagic)
	if count := int(r.uint16()); r.err == nil && count != n {
		r.fail("%d results for %d messages", count, n)
	}
	replies := make([]wireReply, 0, n)
	for range n {
		if r.err != nil {
			break
		}
		reply := wireReply{state: r.byte()}
		switch reply.state {
		case stateAcked:
			a, rest, err := quorum.CutAck(r.b)
			if err != nil {
				r.fail("%w", err)
				break
			}
			reply.ack, r.b = a, rest
		case stateTemporary, statePermanent, stateConflict:
			reply.reason = r.string(maxReason)
		default:
			r.fail("state %d", reply.state)
		}
		replies = append(replies, reply)
	}
	if err := r.end("answer"); err != nil {
		return nil, err
	}
	return replies, nil
}

// encodePage encodes a page of a pull.
func encodePage(letters []*letter, next string, more bool) []byte {
	b := append([]byte{}, pageMagic...)
	b = appendString(b, next)
	if more {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return appendLetters(b, letters)
}

// parsePage parses what encodePage made. The letters share b.
func parsePage(b []byte) (letters []*letter, next string, more bool, err error) {
	r := wireReader{b: b}
	r.magic(pageMagic)
	next = r.string(maxCursor)
	switch m := r.byte(); m {
	case 0, 1:
		more = m == 1
	default:
		r.fail("more is %d", m)
	}
	letters = r.letters("")
	return letters, next, more, r.end("page")
}

// A wireReader takes values off a slice and keeps the first error.
type wireReader struct {
	b   []byte
	err error
}

func (r *wireReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *wireReader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || len(r.b) < n {
		r.fail("it ends too early")
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

func (r *wireReader) magic(want string) {
	if got := r.take(len(want)); r.err == nil && string(got) != want {
		r.fail("it starts with %q, want %q", got, want)
	}
}

func (r *wireReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *wireReader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *wireReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *wireReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *wireReader) string(limit int) string {
	n := int(r.uint16())
	if n > limit {
		r.fail("a string of %d bytes, at most %d", n, limit)
	}
	return string(r.take(n))
}

func (r *wireReader) letters(sender string) []*letter {
	n := int(r.uint16())
	if n > maxBatch {
		r.fail("%d messages, at most %d", n, maxBatch)
	}
	var letters []*letter
	total := 0
	for range n {
		l := &letter{sender: sender}
		l.Operation = r.string(quorum.MaxOperation)
		l.ContentType = r.string(maxContentType)
		ms := r.uint64()
		l.Body = r.take(int(r.uint32()))
		if r.err != nil {
			return nil
		}
		if err := quorum.ValidOperation(l.Operation); err != nil {
			r.fail("%w", err)
		}
		if total += len(l.Body); len(l.Body) == 0 || len(l.Body) > MaxMessage || n > 1 && total > maxBatchBytes {
			r.fail("bodies of %d bytes", total)
		}
		if !isHeaderText(l.ContentType) || l.ContentType == "" {
			r.fail("content type %q", l.ContentType)
		}
		if ms == 0 || ms > maxMillis {
			r.fail("time of %d ms", ms)
		}
		l.created = time.UnixMilli(int64(min(ms, maxMillis)))
		letters = append(letters, l)
	}
	return letters
}

// maxMillis is the end of the year 9999.
const maxMillis = 253402300799999

func (r *wireReader) end(what string) error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes after it", len(r.b))
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w: %w", what, errWire, r.err)
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}
