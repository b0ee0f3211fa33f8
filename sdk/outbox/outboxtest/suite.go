package outboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
)

// New returns an empty store within limits. What it opens it closes in t.Cleanup.
type New func(t *testing.T, limits outbox.Limits) outbox.Store

// Run runs the suite, each part on a store of its own.
func Run(t *testing.T, open New) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, New)
	}{
		{"an entry reads as it was appended", readsAsAppended},
		{"a message for many peers waits for each by itself", manyPeers},
		{"entries of a peer keep their order", order},
		{"a query stops at its limits", queryLimits},
		{"what is deleted is gone", deleted},
		{"marks change an entry and stay", marks},
		{"a retried entry returns to its place", retried},
		{"a full queue takes no more and others do", full},
		{"a message over the limit is refused", tooLarge},
		{"stats count what is there", stats},
		{"unknown peers and entries are no error", unknown},
		{"a cancelled context changes nothing", cancelled},
		{"concurrent use loses nothing", concurrent},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open) })
	}
}

func readsAsAppended(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	m := Message("op-1", "a body")
	seq := appendTo(t, s, m, "b")[0]
	got := read(t, s, "b", outbox.Query{})
	if len(got) != 1 {
		t.Fatalf("%d entries", len(got))
	}
	e := got[0]
	if e.Operation != m.Operation || e.ContentType != m.ContentType || e.Digest != m.Digest ||
		!bytes.Equal(e.Body, m.Body) || !e.Created.Equal(m.Created) {
		t.Errorf("got %+v, want %+v", e.Message, m)
	}
	if e.Seq != seq || seq == 0 || e.Refusals != 0 || e.Quarantined || e.Reason != "" {
		t.Errorf("state of a new entry: %+v, seq %d", e, seq)
	}
	empty := outbox.Message{Operation: "op-2", Created: m.Created}
	appendTo(t, s, empty, "c")
	if got := read(t, s, "c", outbox.Query{}); len(got) != 1 || len(got[0].Body) != 0 || got[0].ContentType != "" {
		t.Errorf("an empty body reads as %+v", got)
	}
}

func manyPeers(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	peers := make([]string, 20)
	for i := range peers {
		peers[i] = fmt.Sprintf("https://peer-%d.example", i)
	}
	seqs := appendTo(t, s, Message("op-1", "x"), peers...)
	for i, peer := range peers {
		wantOps(t, s, peer, outbox.Query{}, "op-1")
		if err := s.Delete(t.Context(), peer, seqs[i]); err != nil {
			t.Fatal(err)
		}
		wantOps(t, s, peer, outbox.Query{})
		if i+1 < len(peers) {
			wantOps(t, s, peers[len(peers)-1], outbox.Query{}, "op-1")
		}
	}
}

func order(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	want := []string{}
	var last uint64
	for i := range 300 {
		op := fmt.Sprintf("op-%d", i)
		seqs := appendTo(t, s, Message(op, "x"), "a", "b")
		if seqs[1] <= last {
			t.Fatalf("seq %d after %d", seqs[1], last)
		}
		last = seqs[1]
		want = append(want, op)
	}
	got := []string{}
	var after uint64
	for {
		page := read(t, s, "b", outbox.Query{After: after, Messages: 7})
		if len(page) == 0 {
			break
		}
		got = append(got, ops(page)...)
		after = page[len(page)-1].Seq
	}
	if !slices.Equal(got, want) {
		t.Errorf("read in pages: %v", got)
	}
}

func queryLimits(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	var seqs []uint64
	for i := range 70 {
		seqs = append(seqs, appendTo(t, s, Message(fmt.Sprint(i), "0123456789"), "b")...)
	}
	for name, c := range map[string]struct {
		q    outbox.Query
		want int
	}{
		"default":                  {outbox.Query{}, outbox.DefaultMessages},
		"by number":                {outbox.Query{Messages: 3}, 3},
		"by bytes":                 {outbox.Query{Bytes: 35}, 3},
		"by bytes, exact":          {outbox.Query{Bytes: 30}, 3},
		"one at least":             {outbox.Query{Bytes: 1}, 1},
		"after one that is there":  {outbox.Query{After: seqs[66]}, 3},
		"after the last":           {outbox.Query{After: seqs[69]}, 0},
		"after more than the last": {outbox.Query{After: seqs[69] + 1000}, 0},
	} {
		if got := read(t, s, "b", c.q); len(got) != c.want {
			t.Errorf("%s: %d entries, want %d", name, len(got), c.want)
		}
	}
	if err := s.Delete(t.Context(), "b", seqs[66]); err != nil {
		t.Fatal(err)
	}
	wantOps(t, s, "b", outbox.Query{After: seqs[66]}, "67", "68", "69")
}

func deleted(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	var seqs []uint64
	for i := range 10 {
		seqs = append(seqs, appendTo(t, s, Message(fmt.Sprint(i), "x"), "b")...)
	}
	if err := s.Delete(t.Context(), "b", seqs[0], seqs[5], seqs[9], seqs[5]); err != nil {
		t.Fatal(err)
	}
	wantOps(t, s, "b", outbox.Query{}, "1", "2", "3", "4", "6", "7", "8")
	if err := s.Delete(t.Context(), "b", seqs...); err != nil {
		t.Fatal(err)
	}
	wantOps(t, s, "b", outbox.Query{})
	seq := appendTo(t, s, Message("new", "x"), "b")[0]
	if seq <= seqs[9] {
		t.Errorf("seq %d after %d was used", seq, seqs[9])
	}
	wantOps(t, s, "b", outbox.Query{}, "new")
}

func marks(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	var seqs []uint64
	for i := range 3 {
		seqs = append(seqs, appendTo(t, s, Message(fmt.Sprint(i), "x"), "b")...)
	}
	long := string(bytes.Repeat([]byte("r"), 3*outbox.MaxReason))
	if err := s.Mark(t.Context(), "b", outbox.Mark{Seq: seqs[0], Refusals: 7, Reason: "no"},
		outbox.Mark{Seq: seqs[1], Refusals: 100, Quarantined: true, Reason: long}); err != nil {
		t.Fatal(err)
	}
	wantOps(t, s, "b", outbox.Query{}, "0", "2")
	got := read(t, s, "b", outbox.Query{})[0]
	if got.Refusals != 7 || got.Reason != "no" || got.Quarantined || string(got.Body) != "x" {
		t.Errorf("marked entry: %+v", got)
	}
	wantOps(t, s, "b", outbox.Query{Quarantined: true}, "1")
	got = read(t, s, "b", outbox.Query{Quarantined: true})[0]
	if got.Refusals != 100 || !got.Quarantined || len(got.Reason) != outbox.MaxReason {
		t.Errorf("quarantined entry: %d refusals, reason of %d bytes", got.Refusals, len(got.Reason))
	}
}

func retried(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	var seqs []uint64
	for i := range 3 {
		seqs = append(seqs, appendTo(t, s, Message(fmt.Sprint(i), "x"), "b")...)
	}
	if err := s.Mark(t.Context(), "b", outbox.Mark{Seq: seqs[1], Refusals: 100, Quarantined: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Mark(t.Context(), "b", outbox.Mark{Seq: seqs[1]}); err != nil {
		t.Fatal(err)
	}
	wantOps(t, s, "b", outbox.Query{}, "0", "1", "2")
	if err := s.Mark(t.Context(), "b", outbox.Mark{Seq: seqs[1], Quarantined: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "b", seqs[1]); err != nil {
		t.Fatal(err)
	}
	wantOps(t, s, "b", outbox.Query{Quarantined: true})
}

func full(t *testing.T, open New) {
	s := open(t, outbox.Limits{Bytes: 25})
	ten := "0123456789"
	first := appendTo(t, s, Message("1", ten), "b", "c")
	second := appendTo(t, s, Message("2", ten), "b")
	if first[0] == 0 || first[1] == 0 || second[0] == 0 {
		t.Fatalf("refused before the limit: %v %v", first, second)
	}
	if got := appendTo(t, s, Message("3", ten), "c", "b", "d"); got[0] == 0 || got[1] != 0 || got[2] == 0 {
		t.Errorf("seqs %v, want b alone refused", got)
	}
	wantOps(t, s, "b", outbox.Query{}, "1", "2")
	wantOps(t, s, "c", outbox.Query{}, "1", "3")
	if err := s.Mark(t.Context(), "b", outbox.Mark{Seq: first[0], Quarantined: true}); err != nil {
		t.Fatal(err)
	}
	if got := appendTo(t, s, Message("4", ten), "b"); got[0] != 0 {
		t.Error("what is quarantined does not count toward the limit")
	}
	if err := s.Delete(t.Context(), "b", first[0]); err != nil {
		t.Fatal(err)
	}
	if got := appendTo(t, s, Message("5", ten), "b"); got[0] == 0 {
		t.Error("refused although there is room again")
	}
	if l, ok := s.(outbox.Limiter); ok && (l.Limits().Bytes != 25 || l.Limits().Age != outbox.DefaultAge) {
		t.Errorf("limits %+v", l.Limits())
	}
}

func tooLarge(t *testing.T, open New) {
	s := open(t, outbox.Limits{Bytes: 25})
	_, err := s.Append(t.Context(), Message("1", string(make([]byte, 26))), []string{"b"})
	if !errors.Is(err, outbox.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	wantOps(t, s, "b", outbox.Query{})
}

func stats(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	get := func() []outbox.Stat {
		t.Helper()
		st, err := s.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if got := get(); len(got) != 0 {
		t.Errorf("an empty store has %+v", got)
	}
	old := Message("1", "12345")
	older := old.Created
	first := appendTo(t, s, old, "c", "b")
	young := Message("2", "1")
	young.Created = older.Add(time.Hour)
	appendTo(t, s, young, "b")
	if err := s.Mark(t.Context(), "b", outbox.Mark{Seq: first[1], Quarantined: true}); err != nil {
		t.Fatal(err)
	}
	got := get()
	if len(got) != 2 || got[0].Peer != "b" || got[1].Peer != "c" {
		t.Fatalf("got %+v, want b and c", got)
	}
	if b := got[0]; b.Depth != 1 || b.Bytes != 6 || b.Quarantined != 1 || !b.Oldest.Equal(young.Created) {
		t.Errorf("b: %+v", b)
	}
	if c := got[1]; c.Depth != 1 || c.Bytes != 5 || c.Quarantined != 0 || !c.Oldest.Equal(older) {
		t.Errorf("c: %+v", c)
	}
	if err := s.Delete(t.Context(), "c", first[0]); err != nil {
		t.Fatal(err)
	}
	if got := get(); len(got) != 1 {
		t.Errorf("after c drained: %+v", got)
	}
}

func unknown(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	seq := appendTo(t, s, Message("1", "x"), "b")[0]
	for _, err := range []error{
		s.Delete(t.Context(), "nobody", 1, 2), s.Delete(t.Context(), "b", seq+5), s.Delete(t.Context(), "b"),
		s.Mark(t.Context(), "nobody", outbox.Mark{Seq: 1}), s.Mark(t.Context(), "b", outbox.Mark{Seq: seq + 5}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	wantOps(t, s, "nobody", outbox.Query{})
	wantOps(t, s, "b", outbox.Query{}, "1")
	if got := appendTo(t, s, Message("2", "x")); len(got) != 0 {
		t.Errorf("appended for nobody: %v", got)
	}
}

func cancelled(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	seq := appendTo(t, s, Message("1", "x"), "b")[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, appendErr := s.Append(ctx, Message("2", "x"), []string{"b"})
	_, readErr := s.Read(ctx, "b", outbox.Query{})
	_, statsErr := s.Stats(ctx)
	for name, err := range map[string]error{
		"Append": appendErr, "Read": readErr, "Stats": statsErr,
		"Mark":   s.Mark(ctx, "b", outbox.Mark{Seq: seq, Quarantined: true}),
		"Delete": s.Delete(ctx, "b", seq),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantOps(t, s, "b", outbox.Query{}, "1")
}

func concurrent(t *testing.T, open New) {
	s := open(t, outbox.Limits{})
	const workers, each = 8, 40
	peers := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				seqs, err := s.Append(t.Context(), Message(fmt.Sprintf("%d/%03d", w, i), "x"), peers)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Delete(t.Context(), "a", seqs[0]); err != nil {
					t.Error(err)
				}
				if i%2 == 1 {
					if err := s.Mark(t.Context(), "b", outbox.Mark{Seq: seqs[1], Quarantined: true}); err != nil {
						t.Error(err)
					}
				}
				if _, err := s.Read(t.Context(), "b", outbox.Query{}); err != nil {
					t.Error(err)
				}
				if _, err := s.Stats(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := outbox.Query{Messages: workers*each + 1}
	wantOps(t, s, "a", all)
	held := all
	held.Quarantined = true
	if n, q := len(read(t, s, "b", all)), len(read(t, s, "b", held)); n != workers*each/2 || q != workers*each/2 {
		t.Errorf("b: %d wait and %d are set aside", n, q)
	}
	last := make(map[byte]string)
	entries := read(t, s, "c", all)
	for _, e := range entries {
		if w := e.Operation[0]; e.Operation <= last[w] {
			t.Errorf("%s after %s", e.Operation, last[w])
		} else {
			last[w] = e.Operation
		}
	}
	if len(entries) != workers*each {
		t.Errorf("c: %d entries", len(entries))
	}
}
