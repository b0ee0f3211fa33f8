package outbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

var (
	// ErrClosed: the store was closed.
	ErrClosed = fault.ErrClosed
	// ErrTooLarge: the message exceeds what a store can ever hold for one peer.
	ErrTooLarge = errors.New("message larger than the outbox's limit for one peer")
)

// A Message is what is kept. It is not changed once appended; Body is shared between the peers it is for.
type Message struct {
	Operation   string            // the operation id, 1 to 128 bytes
	ContentType string            // of Body; may be empty
	Digest      [sha256.Size]byte // SHA-256 of Body
	Body        []byte
	Created     time.Time // when it was pushed; stores keep it to the millisecond
}

// An Entry is a message that waits for one peer.
type Entry struct {
	Message
	Seq         uint64 // grows with every Append; orders the entries of a peer
	Refusals    int    // permanent refusals so far
	Quarantined bool   // set aside: not replayed until somebody retries or drops it
	Reason      string // of the last refusal
}

// A Query selects entries of one peer.
type Query struct {
	After       uint64 // only entries with a greater Seq
	Messages    int    // at most so many; 0: 64
	Bytes       int64  // stop before their bodies exceed it, but return at least one; 0: no limit
	Quarantined bool   // those set aside, in place of those that wait
}

// A Mark is the new state of an entry that stays.
type Mark struct {
	Seq         uint64
	Refusals    int
	Quarantined bool
	Reason      string // at most 1024 bytes are kept
}

// A Stat is the state of one peer's queue.
type Stat struct {
	Peer        string
	Depth       int       // entries that wait
	Bytes       int64     // of the bodies of all its entries, those set aside included
	Oldest      time.Time // Created of the entry that has waited longest; zero when none waits
	Quarantined int       // entries set aside
}

// A Store keeps entries by peer ID. Implementations are safe for concurrent use. An entry, once read, is the
// caller's to read and nobody's to change. Errors that wrap no sentinel of internal/fault mean: try again.
//
// What a method has returned without an error survives whatever the store promises to survive: nothing for
// memory, kill -9 for bolt, what the database promises for a caller's own.
type Store interface {
	// Append records m for every one of the peers, or for none. It returns a Seq for each, in the order of
	// peers; 0 for a peer whose queue is full, which is no error. It does not keep m.Body's backing
	// array from being read by others, and expects it never to change. ErrTooLarge says that m can never fit.
	//
	// The context is Push's, so that a store of the caller's can find the caller's open transaction in it, add its rows
	// and commit it. It must be committed when Append returns: entries that peers ack are deleted from then on.
	Append(ctx context.Context, m Message, peers []string) ([]uint64, error)
	// Read returns entries of a peer in ascending Seq. An unknown peer has none.
	Read(ctx context.Context, peer string, q Query) ([]Entry, error)
	// Mark changes the state of entries. An entry that is gone is skipped.
	Mark(ctx context.Context, peer string, marks ...Mark) error
	// Delete removes entries, set aside or not. An entry that is gone is skipped.
	Delete(ctx context.Context, peer string, seqs ...uint64) error
	// Stats returns one Stat for each peer that has entries, sorted by peer.
	Stats(ctx context.Context) ([]Stat, error)
}

// Limits bound the queue of each peer.
type Limits struct {
	// Bytes bounds the bodies that wait for, or are set aside for, one peer. Append returns Seq 0 for a peer
	// when the message does not fit. Default 64 MiB; negative: no bound.
	Bytes int64
	// Age is how long an entry may wait. Who replays the queue drops older ones, with an event. Default
	// 7 days; negative: for ever.
	Age time.Duration
}

// The defaults of Limits.
const (
	DefaultBytes = 64 << 20
	DefaultAge   = 7 * 24 * time.Hour
)

// WithDefaults returns l with its zero fields set.
func (l Limits) WithDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Age == 0 {
		l.Age = DefaultAge
	}
	return l
}

// Fits says whether a queue that holds so many bytes takes so many more.
func (l Limits) Fits(held, more int64) bool { return l.Bytes < 0 || held+more <= l.Bytes }

// A Limiter is a Store that knows its limits. Without it Age is the default and Bytes is unknown.
type Limiter interface{ Limits() Limits }

// DefaultMessages is how many entries a Query without a number selects.
const DefaultMessages = 64

// MaxReason is how many bytes of a Mark's reason a store keeps.
const MaxReason = 1024
