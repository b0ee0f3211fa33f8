package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A file that is whole and cannot be mapped is no damaged one: moved aside, it would be sent by nobody.
func TestAFileThatTheSystemDoesNotMapIsLeftAsItIs(t *testing.T) {
	const size, spare = 64 << 30, 8 << 30 // the file has no more blocks than before
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openTest(t, path, Options{})
	fill(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Skipf("the file system has no sparse files of that size: %v", err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &before); err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.ParseUint(strings.Fields(string(stat))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = pages*uint64(os.Getpagesize()) + spare
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		t.Skipf("the address space cannot be limited: %v", err)
	}
	got, err := Open(path, Options{OnCorrupt: func(kept string, err error) { t.Errorf("moved to %s: %v", kept, err) }})
	if rerr := syscall.Setrlimit(syscall.RLIMIT_AS, &before); rerr != nil {
		t.Fatal(rerr)
	}
	if err == nil {
		_ = got.Close()
		t.Fatal("opened")
	}
	if !errors.Is(err, syscall.ENOMEM) || errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want that there is no memory", err)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("left %v", names)
	}
}
