package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"

	"github.com/alphaonedev/federation/sdk/outbox"
)

// The file, format 1:
//
//	meta      "format"      → uint32
//	messages  seq           → sealed message
//	refs      seq           → uint32, the entries that refer to that message
//	queues    peer ID → seq → sealed state of one entry
//
// A message stands once, under the Seq of its first entry, however many peers it is for. Numbers are
// big-endian. Sealed means: followed by its CRC-32C, so that a flipped bit is found and not sent.
const format = 1

var (
	metaBucket     = []byte("meta")
	messagesBucket = []byte("messages")
	refsBucket     = []byte("refs")
	queuesBucket   = []byte("queues")
	formatKey      = []byte("format")
)

const (
	maxString = 1<<16 - 1
	crcLen    = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func key(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal returns what was sealed, a part of b.
func unseal(what string, b []byte) ([]byte, error) {
	if len(b) < crcLen {
		return nil, fmt.Errorf("outbox: %w: %s of %d bytes", ErrCorrupt, what, len(b))
	}
	body := b[:len(b)-crcLen]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return nil, fmt.Errorf("outbox: %w: checksum of a %s", ErrCorrupt, what)
	}
	return body, nil
}

func encodeMessage(m outbox.Message) []byte {
	b := make([]byte, 0, 8+len(m.Digest)+2+len(m.Operation)+2+len(m.ContentType)+len(m.Body)+crcLen)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Created.UnixMilli()))
	b = append(b, m.Digest[:]...)
	b = appendString(b, m.Operation)
	b = appendString(b, m.ContentType)
	return seal(append(b, m.Body...))
}

// decodeMessage copies the message out of b.
func decodeMessage(b []byte) (m outbox.Message, err error) {
	b, err = unseal("message", b)
	if err != nil {
		return m, err
	}
	if len(b) < 8+len(m.Digest) {
		return m, fmt.Errorf("outbox: %w: message of %d bytes", ErrCorrupt, len(b))
	}
	m.Created = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	copy(m.Digest[:], b[8:])
	b = b[8+len(m.Digest):]
	var ok1, ok2 bool
	m.Operation, b, ok1 = cutString(b)
	m.ContentType, b, ok2 = cutString(b)
	if !ok1 || !ok2 {
		return m, fmt.Errorf("outbox: %w: message cut short", ErrCorrupt)
	}
	m.Body = append([]byte{}, b...)
	return m, nil
}

// A state is the value of an entry: where its message is, and what Mark sets.
type state struct {
	message     uint64 // Seq under which the message stands
	size        uint32 // of the body
	refusals    uint32
	quarantined bool
	reason      string
}

func (s state) encode() []byte {
	b := make([]byte, 0, 8+4+4+1+2+len(s.reason)+crcLen)
	b = binary.BigEndian.AppendUint64(b, s.message)
	b = binary.BigEndian.AppendUint32(b, s.size)
	b = binary.BigEndian.AppendUint32(b, s.refusals)
	if s.quarantined {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return seal(appendString(b, s.reason))
}

func decodeState(b []byte) (s state, err error) {
	b, err = unseal("queue entry", b)
	if err != nil {
		return s, err
	}
	if len(b) < 8+4+4+1 {
		return s, fmt.Errorf("outbox: %w: queue entry of %d bytes", ErrCorrupt, len(b))
	}
	s.message = binary.BigEndian.Uint64(b)
	s.size = binary.BigEndian.Uint32(b[8:])
	s.refusals = binary.BigEndian.Uint32(b[12:])
	s.quarantined = b[16] == 1
	reason, rest, ok := cutString(b[17:])
	if !ok || len(rest) > 0 {
		return s, fmt.Errorf("outbox: %w: queue entry of %d bytes", ErrCorrupt, len(b))
	}
	s.reason = reason
	return s, nil
}

func (s state) counts() counts {
	c := counts{bytes: int64(s.size)}
	if s.quarantined {
		c.quarantine = 1
	} else {
		c.depth = 1
	}
	return c
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}

// create writes the buckets of an empty outbox.
func create(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	for _, name := range [][]byte{messagesBucket, refsBucket, queuesBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return meta.Put(formatKey, binary.BigEndian.AppendUint32(nil, format))
}
