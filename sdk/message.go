package sdk

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/exactjson"
	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
)

// MaxMessage is the greatest length of a message's body, in bytes.
const MaxMessage = 8 << 20

// DefaultContentType is the content type of a message that names none.
const DefaultContentType = "application/octet-stream"

// ErrMessage is what a message that cannot be pushed matches: empty, oversized, or with an operation id or a
// content type that cannot travel. Nothing of it has been recorded or sent.
var ErrMessage = errors.New("message cannot be pushed")

// A Message is what a push carries to the peers.
type Message struct {
	// Operation is the id under which peers know the message, and under which it may be repeated: the same
	// id must always come with the same body. 1 to 128 visible ASCII characters without quotation mark,
	// backslash, comma or semicolon. Default: 128 random bits. Set it to have a push repeated after a crash
	// recognised.
	Operation string
	// Body is 1 byte to MaxMessage. It is not copied and must not change. For peers on the ai-memory wire it
	// is a JSON object, a memory, whose id is Operation.
	Body []byte
	// ContentType of Body. Default application/octet-stream.
	ContentType string
}

// validate fills in defaults.
func (m Message) validate(memoryWire bool) (Message, error) {
	if m.Operation == "" {
		if memoryWire {
			m.Operation = memoryID(m.Body)
		} else {
			m.Operation = rand.Text()
		}
	}
	if m.ContentType == "" {
		m.ContentType = DefaultContentType
	}
	bad := func(field, format string, args ...any) (Message, error) {
		return m, fmt.Errorf("sdk: %w: %s: %w", ErrMessage, field, fmt.Errorf(format, args...))
	}
	switch {
	case len(m.Body) == 0:
		return bad("Body", "is empty; a message says something")
	case len(m.Body) > MaxMessage:
		return bad("Body", "has %d bytes, more than %d; send a reference to it", len(m.Body), MaxMessage)
	}
	if err := quorum.ValidOperation(m.Operation); err != nil {
		return bad("Operation", "%w", err)
	}
	if media, _, err := mime.ParseMediaType(m.ContentType); err != nil || !strings.Contains(media, "/") || len(m.ContentType) > maxContentType || !isHeaderText(m.ContentType) {
		return bad("ContentType", "%.80q is no media type", m.ContentType)
	}
	if memoryWire && memoryID(m.Body) != m.Operation {
		return bad("Body", "a peer speaks the ai-memory wire: it must be a JSON object whose id is the operation id %q", m.Operation)
	}
	return m, nil
}

const maxContentType = 256

func isHeaderText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// memoryID is the id of a body on the ai-memory wire, or "".
func memoryID(body []byte) string {
	var memory struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &memory) != nil || exactjson.Check(body, "id") != nil {
		return ""
	}
	return memory.ID
}

// A letter is a message made ready: digested once, and encoded once for each wire, however many peers it is
// for. It does not change.
type letter struct {
	Message
	digest  quorum.Digest
	created time.Time
	sender  string // what this node calls itself

	frame  sync.Once
	framed *signer.Content // a batch of it alone, on the federation wire
	memory sync.Once
	remind *signer.Content // a batch of it alone, on the ai-memory wire
}

func newLetter(m Message, sender string, now time.Time) *letter {
	return &letter{Message: m, digest: quorum.DigestOf(m.Body), created: now.Truncate(time.Millisecond), sender: sender}
}

// letterOf is the letter of what an outbox has kept.
func letterOf(e outbox.Entry, sender string) *letter {
	return &letter{
		Message: Message{Operation: e.Operation, Body: e.Body, ContentType: e.ContentType},
		digest:  e.Digest, created: e.Created, sender: sender,
	}
}

func (l *letter) forOutbox() outbox.Message {
	return outbox.Message{Operation: l.Operation, ContentType: l.ContentType, Digest: l.digest, Body: l.Body, Created: l.created}
}

// content is the request body for a batch.
func contentOf(wire signer.Wire, letters []*letter, turn turn) *signer.Content {
	alone := len(letters) == 1 && turn == turn0
	switch {
	case alone && wire == signer.WireAIMemory:
		l := letters[0]
		l.memory.Do(func() { l.remind = signer.NewContent(encodeMemories(letters)) })
		return l.remind
	case alone:
		l := letters[0]
		l.frame.Do(func() { l.framed = signer.NewContent(encodeBatch(letters, turn)) })
		return l.framed
	case wire == signer.WireAIMemory:
		return signer.NewContent(encodeMemories(letters))
	default:
		return signer.NewContent(encodeBatch(letters, turn))
	}
}
