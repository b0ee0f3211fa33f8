package bolt

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/outbox/outboxtest"
)

var writeGolden = flag.Bool("write-golden", false, "write testdata/format-N.db for the format of this version; a file of an older format is never written again")

// Each file in testdata was written by the version whose format it has, with the same content.
func TestFilesOfEveryFormatOpen(t *testing.T) {
	current := "testdata/format-1.db"
	if *writeGolden {
		s := openTest(t, current, Options{})
		seqs := fill(t, s, 3)
		if err := errors.Join(
			s.Delete(t.Context(), "c", seqs[0]+1),
			s.Mark(t.Context(), "b", outbox.Mark{Seq: seqs[1], Refusals: 100, Quarantined: true, Reason: "no"}),
			s.Close(),
		); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("testdata/format-*.db")
	if err != nil || len(files) != format {
		t.Fatalf("files %v, want one for each format up to %d", files, format)
	}
	for _, golden := range files {
		t.Run(filepath.Base(golden), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox.db")
			copyFile(t, golden, path)
			s := openTest(t, path, Options{OnCorrupt: func(_ string, err error) { t.Fatal(err) }})
			for _, c := range []struct {
				peer string
				q    outbox.Query
				want string
			}{
				{"b", outbox.Query{}, "op-0 op-2"},
				{"b", outbox.Query{Quarantined: true}, "op-1"},
				{"c", outbox.Query{}, "op-1 op-2"},
			} {
				entries, err := s.Read(t.Context(), c.peer, c.q)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				for i, e := range entries {
					if i > 0 {
						got += " "
					}
					got += e.Operation
					want := outboxtest.Message(e.Operation, string(e.Body))
					if len(e.Body) != 100 || e.Digest != want.Digest || !e.Created.Equal(want.Created) || e.ContentType != want.ContentType {
						t.Errorf("entry %+v", e)
					}
				}
				if got != c.want {
					t.Errorf("%s %+v: %s, want %s", c.peer, c.q, got, c.want)
				}
			}
			if seqs := fill(t, s, 1); seqs[0] != 7 {
				t.Errorf("the next seq is %d, want 7", seqs[0])
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
