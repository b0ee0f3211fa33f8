//go:build unix

package plugin_test

import (
	"syscall"
	"testing"

	"github.com/alphaonedev/federation/internal/procs"
)

func killProcess(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func alive(pid int) bool { return procs.Running(pid) }
