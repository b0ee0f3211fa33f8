package plugin_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// children returns the ids of the processes that this one has started, or inherited, and that live.
func children(t testing.TB) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var state string
		var parent int
		if i := bytes.LastIndexByte(b, ')'); i < 0 {
			continue
		} else if _, err := fmt.Sscan(string(b[i+1:]), &state, &parent); err != nil || parent != os.Getpid() || state == "Z" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// descriptors returns what this process holds that a plugin may have left: copies in memory, pipes, sockets, and
// files in a folder.
func descriptors(t testing.TB, folder string) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, fd := range fds {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err != nil {
			continue // that of the folder itself
		}
		for _, kind := range []string{"/memfd:", "pipe:", "socket:", folder} {
			if strings.HasPrefix(to, kind) {
				out = append(out, to)
			}
		}
	}
	return out
}
