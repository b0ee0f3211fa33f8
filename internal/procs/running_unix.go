//go:build unix

package procs

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// Running reports whether a process runs. One that has ended and that its parent has not waited for does not: in a
// container the parent of an orphan may be a program that never does. Only Linux tells such a one apart.
func Running(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // see proc_pid_stat(5)
	if err != nil {
		return true
	}
	name := bytes.LastIndexByte(stat, ')')
	return name < 0 || !bytes.HasPrefix(stat[name:], []byte(") Z"))
}
