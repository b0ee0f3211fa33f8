//go:build unix

package main

import (
	"syscall"

	"github.com/alphaonedev/federation/internal/procs"
)

const terminate = syscall.SIGTERM

func running(pid int) bool { return procs.Running(pid) }
