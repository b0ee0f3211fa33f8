package outboxtest

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
)

// Message returns a valid message with that operation id and body.
func Message(op, body string) outbox.Message {
	return outbox.Message{
		Operation: op, ContentType: "text/plain", Digest: sha256.Sum256([]byte(body)), Body: []byte(body),
		Created: time.UnixMilli(1700000000123),
	}
}

func appendTo(t *testing.T, s outbox.Store, m outbox.Message, peers ...string) []uint64 {
	t.Helper()
	seqs, err := s.Append(t.Context(), m, peers)
	if err != nil {
		t.Fatal(err)
	}
	if len(seqs) != len(peers) {
		t.Fatalf("%d seqs for %d peers", len(seqs), len(peers))
	}
	return seqs
}

func read(t *testing.T, s outbox.Store, peer string, q outbox.Query) []outbox.Entry {
	t.Helper()
	entries, err := s.Read(t.Context(), peer, q)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func ops(entries []outbox.Entry) []string {
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Operation)
	}
	return names
}

func wantOps(t *testing.T, s outbox.Store, peer string, q outbox.Query, want ...string) {
	t.Helper()
	if got := ops(read(t, s, peer, q)); !slices.Equal(got, want) {
		t.Errorf("%s %+v: got %v, want %v", peer, q, got, want)
	}
}
