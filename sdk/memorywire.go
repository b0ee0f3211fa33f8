package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/alphaonedev/federation/internal/exactjson"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// The ai-memory wire: JSON, acks by status and echoed ids, no proof.

const mediaMemories = "application/json"

// encodeMemories encodes a batch for the ai-memory wire. Bodies are JSON objects.
func encodeMemories(letters []*letter) []byte {
	sender, _ := json.Marshal(letters[0].sender)
	size := len(sender) + 64
	for _, l := range letters {
		size += len(l.Body) + 1
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	b.WriteString(`{"sender_agent_id":`)
	b.Write(sender)
	b.WriteString(`,"memories":[`)
	for i, l := range letters {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(l.Body)
	}
	b.WriteString(`],"dry_run":false}`)
	return b.Bytes()
}

// A memoryBatch is a batch on the ai-memory wire.
type memoryBatch struct {
	Sender   string            `json:"sender_agent_id"`
	Memories []json.RawMessage `json:"memories"`
	DryRun   bool              `json:"dry_run"`
}

// parseMemories parses a batch. The operation id of each message is its id.
func parseMemories(body []byte) (letters []*letter, dryRun bool, err error) {
	var b memoryBatch
	if err := json.Unmarshal(body, &b); err != nil {
		return nil, false, fmt.Errorf("batch: %w: %w", errWire, err)
	}
	if err := exactjson.Check(body, "sender_agent_id", "memories", "dry_run"); err != nil {
		return nil, false, fmt.Errorf("batch: %w: %w", errWire, err)
	}
	if err := quorum.ValidID(b.Sender); err != nil {
		return nil, false, fmt.Errorf("batch: %w: sender_agent_id: %w", errWire, err)
	}
	if len(b.Memories) > maxBatch {
		return nil, false, fmt.Errorf("batch: %w: %d memories, at most %d", errWire, len(b.Memories), maxBatch)
	}
	for i, m := range b.Memories {
		l := &letter{Message: Message{Operation: memoryID(m), Body: m, ContentType: mediaMemories}, sender: b.Sender}
		if err := quorum.ValidOperation(l.Operation); err != nil {
			return nil, false, fmt.Errorf("batch: %w: memories[%d].id: %w", errWire, i, err)
		}
		letters = append(letters, l)
	}
	return letters, b.DryRun, nil
}

// A memoryAnswer is what an ai-memory node answers to a batch. Fields that it does not send are nil.
type memoryAnswer struct {
	IDs     *[]string `json:"ids"`
	Applied *int      `json:"applied"`
	Noop    *int      `json:"noop"`
	Skipped *int      `json:"skipped"`
	DryRun  bool      `json:"dry_run"`
	Error   string    `json:"error"`
}

// took is how many memories the peer has, by its own count, and whether it counts.
func (a *memoryAnswer) took() (n int, counted bool) {
	for _, c := range []*int{a.Applied, a.Noop} {
		if c != nil {
			n, counted = n+*c, true
		}
	}
	return n, counted
}

// check reports why an answer acks nothing, whatever it says beside that.
func (a *memoryAnswer) check() error {
	switch {
	case a.Error != "":
		return fmt.Errorf("it says %.200q", a.Error)
	case a.DryRun:
		return errors.New("it is that to a dry run")
	}
	return nil
}

var errSkipped = errors.New("the peer skipped it")

// judgeMemories decides, for each message, whether the answer acks it: by its echoed id where ids are echoed,
// else by the status, provided that by the peer's count nothing was skipped.
func judgeMemories(letters []*letter, body []byte, tlsID string) answer {
	var a memoryAnswer
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return answer{whole: reply{kind: quorum.Unknown, err: errors.New("an answer that is no JSON object, which acks nothing")}}
	}
	err := json.Unmarshal(body, &a)
	if err == nil {
		err = exactjson.Check(body, "ids", "applied", "noop", "skipped", "dry_run", "error")
	}
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return answer{whole: reply{kind: quorum.Unknown, err: fmt.Errorf("an answer that acks nothing: %w", err)}}
	}
	acked := reply{kind: quorum.Acked, verdict: quorum.Applied, identity: quorum.Identity{TLS: tlsID}}
	took, counted := a.took()
	skipped := a.Skipped != nil && *a.Skipped > 0 || counted && took < len(letters)
	if a.IDs == nil && skipped && len(letters) > 1 {
		// Which of them it was, one at a time will tell.
		return answer{whole: reply{kind: quorum.Refused, err: errSkipped}, content: true}
	}
	replies := make([]reply, len(letters))
	for i, l := range letters {
		switch {
		case a.IDs == nil && !skipped, a.IDs != nil && slices.Contains(*a.IDs, l.Operation):
			replies[i] = acked
		case a.IDs == nil, foreign(*a.IDs, letters) == "":
			replies[i] = reply{kind: quorum.Refused, final: true, err: errSkipped}
		default:
			replies[i] = reply{kind: quorum.Drifted, err: fmt.Errorf("%w: id %.80q", errNotOurs, foreign(*a.IDs, letters))}
		}
	}
	return answer{replies: replies}
}

// foreign is the first id that none of the letters has, or "".
func foreign(ids []string, letters []*letter) string {
	for _, id := range ids {
		if !slices.ContainsFunc(letters, func(l *letter) bool { return l.Operation == id }) {
			return id
		}
	}
	return ""
}

// speaksMemory reports whether a peer is on the ai-memory wire.
func (r *roster) speaksMemory() bool {
	return slices.ContainsFunc(r.members, func(m *member) bool { return m.Wire != 0 })
}
