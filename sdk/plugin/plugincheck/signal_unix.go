//go:build unix

package main

import "syscall"

const terminate = syscall.SIGTERM

// running reports whether a process exists.
func running(pid int) bool { return syscall.Kill(pid, 0) == nil }
