package bolt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk/outbox"
)

func TestACorruptFileIsKeptAsideAndReported(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"garbage":             func([]byte) []byte { return bytes.Repeat([]byte("garbage!"), 5000) },
		"a few bytes":         func(b []byte) []byte { return b[:100] },
		"cut in half":         func(b []byte) []byte { return b[:len(b)/2] },
		"cut after the metas": func(b []byte) []byte { return b[:2*os.Getpagesize()] },
		"metas overwritten":   func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b },
		"pages overwritten": func(b []byte) []byte {
			for i := 2 * os.Getpagesize(); i < len(b); i++ {
				b[i] = 0xa5
			}
			return b
		},
		"a bit flipped in a body": func(b []byte) []byte {
			// Every copy, since some are on pages that are free.
			for i := 0; ; {
				n := bytes.Index(b[i:], []byte("xxxxxxxxxxxxxxxx"))
				if n < 0 {
					return b
				}
				b[i+n] ^= 1
				i += n + 16
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox.db")
			s := openTest(t, path, Options{})
			fillMany(t, s, 200)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := damage(whole)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}

			var kept string
			s = openTest(t, path, Options{OnCorrupt: func(k string, err error) {
				kept = k
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("reported %v", err)
				}
			}})
			if !strings.HasPrefix(kept, path+".corrupt-") {
				t.Fatalf("kept as %q", kept)
			}
			if got, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, bad) {
				t.Errorf("what is kept differs from what was found: %v", err)
			}
			if st, err := s.Stats(t.Context()); err != nil || len(st) != 0 {
				t.Errorf("the new file has %+v, %v", st, err)
			}
			if seqs := fill(t, s, 1); seqs[0] == 0 {
				t.Error("the new file takes nothing")
			}
		})
	}
}

func TestDamageUnderARunningStoreIsAnErrorAndNoCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	fillMany(t, s, 2000)
	if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), "b", outbox.Query{Messages: 2000}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Read: %v", err)
	}
	_ = s.Close()
}

func TestTwoDamagedFilesAreBothKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "outbox.db")
	for range 3 {
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 40000), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, path, Options{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	kept, _ := filepath.Glob(path + ".corrupt-*")
	if len(kept) != 3 {
		t.Errorf("kept %v", kept)
	}
	if all, _ := os.ReadDir(dir); len(all) != 4 {
		t.Errorf("the folder holds %v", all)
	}
}
