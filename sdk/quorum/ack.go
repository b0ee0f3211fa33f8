package quorum

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// What is wrong with an ack or a receipt.
var (
	// ErrTruncated: the encoding ends before the value does.
	ErrTruncated = errors.New("truncated")
	// ErrMalformed: the bytes are no encoding of such a value, or hold more than it.
	ErrMalformed = errors.New("malformed")
	// ErrVersion: the encoding has a version that this code does not know.
	ErrVersion = errors.New("unknown version")
	// ErrUnsigned: there is no proof where one is needed.
	ErrUnsigned = errors.New("not signed")
	// ErrSignature: the proof does not hold for the statement.
	ErrSignature = errors.New("signature does not verify")
	// ErrUnknownKey: the proof was made with a key that the node it names is not known to have.
	ErrUnknownKey = errors.New("unknown key")
)

// The limits of an ack's fields, in bytes.
const (
	MaxOperation = 128
	MaxID        = 1024
)

// A Digest is the SHA-256 of a message's body.
type Digest [sha256.Size]byte

// DigestOf returns the digest of a body.
func DigestOf(body []byte) Digest { return sha256.Sum256(body) }

// String returns the digest in hexadecimal, as sha256sum prints it.
func (d Digest) String() string { return fmt.Sprintf("%x", d[:]) }

// A Verdict is what the recipient's application did with a message.
type Verdict uint8

// The verdicts.
const (
	Applied Verdict = 1 // the message changed the recipient's state
	Noop    Verdict = 2 // the recipient already had what the message says
)

// String returns "applied" or "noop".
func (v Verdict) String() string {
	switch v {
	case Applied:
		return "applied"
	case Noop:
		return "noop"
	default:
		return fmt.Sprintf("verdict(%d)", uint8(v))
	}
}

// An Ack is the statement of one node that it has a message. It stands apart from the exchange that brought
// it: stored, it answers a repeated message, and a third party can check it. It is not changed once made.
type Ack struct {
	Operation string    // the message's operation id
	Digest    Digest    // of the message's body
	Sender    string    // ID of the node that pushed
	Recipient string    // ID of the node that acks
	Verdict   Verdict   // what it did
	Time      time.Time // when, by the recipient's clock, to the millisecond
	Proof     *Proof    // nil: not signed
}

// A Proof is a signature over an ack. One signature can cover many acks: they are the leaves of a tree of
// hashes, and Index and Path lead from this ack to the root that is signed. For a single ack Path is empty.
type Proof struct {
	KeyID     string // RFC 7638 thumbprint of the key
	Index     uint16 // position of this ack among the leaves
	Path      []Hash // siblings from the leaf up; at most MaxPath
	Signature []byte // 64 bytes, over the root, in the domain AckDomain
}

// MaxPath is the greatest length of a path: one signature covers at most 2^10 acks.
const MaxPath = 10

// A Hash is a node of the tree under a Proof.
type Hash [sha256.Size]byte

// ValidOperation says whether an operation id can travel: 1 to 128 visible ASCII characters without
// quotation mark, backslash, comma or semicolon. Its error says what is wrong.
func ValidOperation(op string) error {
	if op == "" || len(op) > MaxOperation {
		return fmt.Errorf("operation id of %d bytes, want 1 to %d", len(op), MaxOperation)
	}
	for i := range len(op) {
		if c := op[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' || c == ',' || c == ';' {
			return fmt.Errorf("operation id %q: byte %d, want visible ASCII without quotation mark, backslash, comma or semicolon", op, i)
		}
	}
	return nil
}

// ValidID says whether a node's ID can stand in an ack: 1 to 1024 bytes of UTF-8.
func ValidID(id string) error {
	if id == "" || len(id) > MaxID || !utf8.ValidString(id) {
		return fmt.Errorf("node ID of %d bytes, want 1 to %d bytes of UTF-8", len(id), MaxID)
	}
	return nil
}

// validate checks every field but the proof.
func (a *Ack) validate() error {
	if err := ValidOperation(a.Operation); err != nil {
		return err
	}
	if err := ValidID(a.Sender); err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	if err := ValidID(a.Recipient); err != nil {
		return fmt.Errorf("recipient: %w", err)
	}
	if a.Verdict != Applied && a.Verdict != Noop {
		return fmt.Errorf("%v, want applied or noop", a.Verdict)
	}
	if ms := a.Time.UnixMilli(); ms <= 0 || ms > maxMillis {
		return errors.New("time outside the years 1970 to 9999")
	}
	return nil
}

// maxMillis is the end of the year 9999.
const maxMillis = 253402300799999
