package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/outbox/outboxtest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func openTest(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	outboxtest.Run(t, func(t *testing.T, limits outbox.Limits) outbox.Store {
		return openTest(t, filepath.Join(t.TempDir(), "outbox.db"), Options{Limits: limits})
	})
}

func fill(t testing.TB, s *Store, n int) (seqs []uint64) {
	t.Helper()
	for i := range n {
		got, err := s.Append(t.Context(), outboxtest.Message(fmt.Sprint("op-", i), strings.Repeat("x", 100)), []string{"b", "c"})
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, got[0])
	}
	return seqs
}

// fillMany appends without an order, many to a commit.
func fillMany(t testing.TB, s *Store, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			for i := w; i < n; i += 50 {
				if _, err := s.Append(t.Context(), outboxtest.Message(fmt.Sprint("op-", i), strings.Repeat("x", 100)), []string{"b", "c"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestEverythingSurvivesClosing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openTest(t, path, Options{})
	seqs := fill(t, s, 10)
	if err := errors.Join(
		s.Delete(t.Context(), "b", seqs[0]),
		s.Mark(t.Context(), "b", outbox.Mark{Seq: seqs[1], Refusals: 100, Quarantined: true, Reason: "no"}),
		s.Close(), s.Close(),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), outboxtest.Message("x", "x"), []string{"b"}); !errors.Is(err, outbox.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if _, err := s.Read(t.Context(), "b", outbox.Query{}); !errors.Is(err, outbox.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := s.Stats(t.Context()); !errors.Is(err, outbox.ErrClosed) {
		t.Errorf("Stats after Close: %v", err)
	}

	s = openTest(t, path, Options{})
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(stats) != 2 || stats[0].Depth != 8 || stats[0].Quarantined != 1 || stats[0].Bytes != 900 || stats[1].Depth != 10 {
		t.Errorf("stats %+v", stats)
	}
	held, err := s.Read(t.Context(), "b", outbox.Query{Quarantined: true})
	if err != nil || len(held) != 1 || held[0].Refusals != 100 || held[0].Reason != "no" {
		t.Errorf("quarantine %+v, %v", held, err)
	}
	next := fill(t, s, 1)
	if next[0] <= seqs[9] {
		t.Errorf("seq %d after %d was used", next[0], seqs[9])
	}
}

func TestASecondHolderIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	openTest(t, path, Options{})
	_, err := Open(path, Options{LockTimeout: 1})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrLocked with the path", err)
	}
}

func TestAMessageIsKeptOnceAndGoesWithItsLastPeer(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "outbox.db"), Options{})
	seqs, err := s.Append(t.Context(), outboxtest.Message("op", "x"), []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	stored := func() (n int) {
		_ = s.db.View(func(tx *bbolt.Tx) error {
			n = tx.Bucket(messagesBucket).Stats().KeyN
			return nil
		})
		return n
	}
	for i, peer := range []string{"a", "b", "c"} {
		if stored() != 1 {
			t.Errorf("%d copies before %s", stored(), peer)
		}
		if err := s.Delete(t.Context(), peer, seqs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if stored() != 0 {
		t.Error("the message stays although nobody waits for it")
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	for name, write := range map[string]func(*bbolt.Tx) error{
		"something else": func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("users")); return err },
		"a later version": func(tx *bbolt.Tx) error {
			if err := create(tx); err != nil {
				return err
			}
			return tx.Bucket(metaBucket).Put(formatKey, []byte{0, 0, 0, format + 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox.db")
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(write), db.Close()); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			if _, err := Open(path, Options{}); !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the file changed: %v", err)
			}
		})
	}
}

func TestAFileThatCannotBeOpenedIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Open(filepath.Join(path, "missing", "outbox.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
}

func TestAWriteThatFailsTakesNoOtherWithIt(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "outbox.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bad := errors.New("no space left")
	group := make([]*write, 9)
	for i := range group {
		group[i] = &write{done: make(chan error, 1), apply: func(tx *bbolt.Tx, add func(string, counts)) error {
			add("p", counts{depth: 1, bytes: 1})
			if i == 2 || i == 3 || i == 8 {
				return bad
			}
			m := outbox.Message{Operation: fmt.Sprint("op-", i), Body: []byte("x")}
			return appendMessage(tx, m, []string{"p"}, make([]uint64, 1), func(string) bool { return true })
		}}
	}
	s.commitAll(group)
	for i, w := range group {
		if err := <-w.done; (err != nil) != (i == 2 || i == 3 || i == 8) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	entries, err := s.Read(t.Context(), "p", outbox.Query{})
	stats, serr := s.Stats(t.Context())
	if err != nil || serr != nil || len(entries) != 6 || len(stats) != 1 || stats[0].Depth != 6 || stats[0].Bytes != 6 {
		t.Errorf("%d entries, %v, stats %+v, %v", len(entries), err, stats, serr)
	}
	for i, e := range entries {
		if want := []string{"op-0", "op-1", "op-4", "op-5", "op-6", "op-7"}[i]; e.Operation != want {
			t.Errorf("entry %d is %s, want %s", i, e.Operation, want)
		}
	}
	if after, err := s.Read(t.Context(), "p", outbox.Query{After: ^uint64(0)}); err != nil || len(after) != 0 {
		t.Errorf("after the last possible: %d entries, %v", len(after), err)
	}
}
