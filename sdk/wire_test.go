package sdk

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
)

func testLetters(n int) []*letter {
	letters := make([]*letter, n)
	for i, op := range numbered(n) {
		letters[i] = newLetter(Message{Operation: op, ContentType: "text/plain", Body: []byte("body of " + op)}, "a.example", time.UnixMilli(1700000000123))
	}
	return letters
}

func sameLetters(t *testing.T, got, want []*letter) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Operation != w.Operation || g.ContentType != w.ContentType || !bytes.Equal(g.Body, w.Body) || !g.created.Equal(w.created) {
			t.Errorf("message %d: %+v, want %+v", i, g.Message, w.Message)
		}
	}
}

func TestBatchSurvivesItsEncoding(t *testing.T) {
	for _, n := range []int{1, 2, maxBatch} {
		want, tn := testLetters(n), turn{stream: 7, base: 3, index: 4}
		got, gotTurn, err := parseBatch(encodeBatch(want, tn))
		if err != nil {
			t.Fatal(err)
		}
		sameLetters(t, got, want)
		if gotTurn != tn || got[0].sender != "a.example" {
			t.Errorf("turn %+v, sender %q", gotTurn, got[0].sender)
		}
	}
}

func TestParseBatchRefuses(t *testing.T) {
	good := func() []byte { return encodeBatch(testLetters(2), turn0) }
	big := testLetters(2)
	big[0].Body, big[1].Body = make([]byte, maxBatchBytes), make([]byte, 1)
	empty := testLetters(1)
	empty[0].Body = nil
	badOp := testLetters(1)
	badOp[0].Operation = "a b"
	badType := testLetters(1)
	badType[0].ContentType = "text/plain\r\nx: y"
	noTime := testLetters(1)
	noTime[0].created = time.UnixMilli(0)
	noSender := testLetters(1)
	noSender[0].sender = ""
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"another magic":           append([]byte("XXXX"), good()[4:]...),
		"another version":         append([]byte("FPB\x02"), good()[4:]...),
		"something after it":      append(good(), 0),
		"too many bytes":          encodeBatch(big, turn0),
		"an empty body":           encodeBatch(empty, turn0),
		"a bad operation id":      encodeBatch(badOp, turn0),
		"a bad content type":      encodeBatch(badType, turn0),
		"no time":                 encodeBatch(noTime, turn0),
		"no sender":               encodeBatch(noSender, turn0),
		"a turn without a stream": encodeBatch(testLetters(1), turn{index: 1}),
		"a turn before its base":  encodeBatch(testLetters(1), turn{stream: 1, base: 2, index: 1}),
		"too many messages":       encodeBatch(testLetters(maxBatch+1), turn0),
		"JSON":                    []byte(`{"memories":[]}`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := parseBatch(b); !errors.Is(err, errWire) {
				t.Errorf("got %v, want errWire", err)
			}
		})
	}
	for n := range good() {
		if _, _, err := parseBatch(good()[:n]); !errors.Is(err, errWire) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}

func testReplies() []wireReply {
	ack := &quorum.Ack{Operation: "op-000", Sender: "a", Recipient: "b", Verdict: Noop, Time: time.UnixMilli(1700000000123)}
	return []wireReply{{state: stateAcked, ack: ack}, {state: stateTemporary, reason: "later"}, {state: statePermanent, reason: "never"}, {state: stateConflict}}
}

func TestAnswerSurvivesItsEncoding(t *testing.T) {
	b, err := encodeAnswer(testReplies())
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseAnswer(b, 4)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range testReplies() {
		if got[i].state != want.state || got[i].reason != want.reason || (got[i].ack == nil) != (want.ack == nil) {
			t.Errorf("reply %d: %+v, want %+v", i, got[i], want)
		}
	}
	if _, err := parseAnswer(b, 3); !errors.Is(err, errWire) {
		t.Errorf("an answer to another number of messages: %v", err)
	}
	for n := range b {
		if _, err := parseAnswer(b[:n], 4); err == nil {
			t.Fatalf("the first %d bytes parse", n)
		}
	}
	long, err := encodeAnswer([]wireReply{{state: stateTemporary, reason: strings.Repeat("x", 1000)}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseAnswer(long, 1); err != nil || len(got[0].reason) != maxReason {
		t.Errorf("a long reason: %v", err)
	}
}

func TestPageSurvivesItsEncoding(t *testing.T) {
	for _, n := range []int{0, 1, 5} {
		want := testLetters(n)
		got, next, more, err := parsePage(encodePage(want, "cursor 7", n > 1))
		if err != nil {
			t.Fatal(err)
		}
		sameLetters(t, got, want)
		if next != "cursor 7" || more != (n > 1) {
			t.Errorf("next %q, more %v", next, more)
		}
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add(encodeBatch(testLetters(1), turn0))
	f.Add(encodeBatch(testLetters(3), turn{stream: 1, base: 0, index: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		letters, tn, err := parseBatch(b)
		if err != nil {
			return
		}
		if again := encodeBatch(letters, tn); !bytes.Equal(again, b) {
			t.Errorf("%x parses and encodes as %x", b, again)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	b, err := encodeAnswer(testReplies())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, 4)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > maxBatch {
			return
		}
		replies, err := parseAnswer(b, n)
		if err != nil {
			return
		}
		if again, err := encodeAnswer(replies); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x parses and encodes as %x, %v", b, again, err)
		}
	})
}

func FuzzParsePage(f *testing.F) {
	f.Add(encodePage(testLetters(2), "next", true))
	f.Fuzz(func(t *testing.T, b []byte) {
		letters, next, more, err := parsePage(b)
		if err != nil {
			return
		}
		if again := encodePage(letters, next, more); !bytes.Equal(again, b) {
			t.Errorf("%x parses and encodes as %x", b, again)
		}
	})
}

func FuzzMemoryWire(f *testing.F) {
	f.Add([]byte(`{"sender_agent_id":"a","memories":[{"id":"m-1"}],"dry_run":false}`))
	f.Add([]byte(`{"ids":["m-1"],"skipped":0}`))
	f.Add([]byte(`{"memories":[{"id":"m-1","updated_at":"2026-01-02T03:04:05Z"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if letters, _, err := parseMemories(b); err == nil && len(letters) > maxBatch {
			t.Errorf("%d messages", len(letters))
		}
		a := judgeMemories(testLetters(2), b, "tls")
		if a.replies != nil && len(a.replies) != 2 || a.replies == nil && a.whole.err == nil {
			t.Errorf("answer %+v", a)
		}
		_, _, _, _ = parseMemoryPage(b, "")
	})
}
