package bolt

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/outbox/outboxtest"
)

const childEnv = "OUTBOX_TEST_CHILD"

// child is the process that is killed: it appends and deletes from several goroutines and prints what the
// store has promised, one line per promise.
func child(path string) {
	s, err := Open(path, Options{LockTimeout: 10 * time.Second, OnCorrupt: func(kept string, err error) {
		fmt.Println("corrupt", kept, err)
	}})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open")
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				op := fmt.Sprintf("%d/%d/%d", os.Getpid(), w, i)
				seqs, err := s.Append(context.Background(), outboxtest.Message(op, strings.Repeat(op, 20)), []string{"b", "c"})
				if err != nil {
					fmt.Println("error", err)
					return
				}
				// One write each, so that a line is whole or absent.
				os.Stdout.WriteString(fmt.Sprintf("has b %d %s\nhas c %d %s\n", seqs[0], op, seqs[1], op))
				if i%3 == 0 {
					os.Stdout.WriteString(fmt.Sprintf("deleting c %d\n", seqs[1]))
					if err := s.Delete(context.Background(), "c", seqs[1]); err != nil {
						fmt.Println("error", err)
						return
					}
					os.Stdout.WriteString(fmt.Sprintf("gone c %d\n", seqs[1]))
				}
			}
		}()
	}
	select {}
}

func TestNothingRecordedIsLostToKill(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	path := filepath.Join(t.TempDir(), "outbox.db")
	has := map[string]map[uint64]string{"b": {}, "c": {}}
	maybe := map[uint64]bool{} // a deletion was begun: either state is right
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		delay := time.Duration(rng.IntN(80)) * time.Millisecond
		var once sync.Once
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var seq uint64
			var peer, op string
			switch line := lines.Text(); {
			case line == "open":
				// Some rounds kill at the first promise, others while commits follow one another.
				once.Do(func() { time.AfterFunc(delay, func() { cmd.Process.Kill() }) })
			case scan(line, "has %s %d %s", &peer, &seq, &op) == 3:
				has[peer][seq] = op
			case scan(line, "deleting %s %d", &peer, &seq) == 2:
				maybe[seq] = true
			case scan(line, "gone %s %d", &peer, &seq) == 2:
				delete(has[peer], seq)
			case strings.HasPrefix(line, "error"), strings.HasPrefix(line, "corrupt"):
				t.Errorf("round %d: %s", round, line)
			}
		}
		cmd.Process.Kill()
		_ = cmd.Wait()

		s, err := Open(path, Options{LockTimeout: 10 * time.Second, OnCorrupt: func(kept string, err error) {
			t.Fatalf("round %d: corrupt: %v", round, err)
		}})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for peer, want := range has {
			entries, err := s.Read(t.Context(), peer, outbox.Query{Messages: 1 << 30})
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			found := map[uint64]string{}
			var last uint64
			for _, e := range entries {
				if e.Seq <= last {
					t.Errorf("round %d: %s: seq %d after %d", round, peer, e.Seq, last)
				}
				last = e.Seq
				found[e.Seq] = e.Operation
				if string(e.Body) != strings.Repeat(e.Operation, 20) {
					t.Errorf("round %d: %s: body of %s changed", round, peer, e.Operation)
				}
			}
			for seq, op := range want {
				if found[seq] != op && !(peer == "c" && maybe[seq] && found[seq] == "") {
					t.Errorf("round %d: %s: %d is %q, want %q", round, peer, seq, found[seq], op)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(has["b"]) < rounds {
		t.Errorf("only %d messages were recorded in %d rounds", len(has["b"]), rounds)
	}
	t.Logf("%d rounds, %d messages recorded", rounds, len(has["b"]))
}

func scan(line, format string, args ...any) int {
	n, err := fmt.Sscanf(line, format, args...)
	if err != nil {
		return 0
	}
	return n
}
