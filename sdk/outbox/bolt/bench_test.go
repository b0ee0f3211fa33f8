package bolt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/alphaonedev/federation/sdk/outbox/outboxtest"
)

// The two halves of "group commit": 64 pushers that share commits, and the same rows with a commit, and so a
// disk synchronisation, for each message. Compare msg/s.
func BenchmarkAppend(b *testing.B) {
	body := strings.Repeat("x", 1024)
	peers := []string{"b", "c"}
	b.Run("group-64", func(b *testing.B) {
		s, err := Open(filepath.Join(benchDir(b), "outbox.db"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		var left atomic.Int64
		left.Store(int64(b.N))
		var wg sync.WaitGroup
		b.ResetTimer()
		for range 64 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if _, err := s.Append(b.Context(), outboxtest.Message("op", body), peers); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("one-fsync-each", func(b *testing.B) {
		s, err := Open(filepath.Join(benchDir(b), "outbox.db"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		b.ResetTimer()
		for i := range b.N {
			err := s.db.Update(func(tx *bbolt.Tx) error {
				m := outboxtest.Message(fmt.Sprint(i), body)
				return appendMessage(tx, m, peers, make([]uint64, 2), func(string) bool { return true })
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

// benchDir is a folder on a real disk: a memory file system makes fsync free. OUTBOX_BENCH_DIR names another.
func benchDir(b *testing.B) string {
	if dir := os.Getenv("OUTBOX_BENCH_DIR"); dir != "" {
		sub, err := os.MkdirTemp(dir, "outbox-bench-*")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.RemoveAll(sub) })
		return sub
	}
	return b.TempDir()
}
