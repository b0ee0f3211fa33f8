//go:build unix && !linux

package plugin

import (
	"os"
	"os/exec"
	"syscall"
)

func setAttributes(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// confine cannot limit another process here.
func confine(*os.Process, Limits) (job, error) { return job{}, nil }

// waitOnly waits for the process to end.
func waitOnly(cmd *exec.Cmd) error { return cmd.Wait() }

// reap has nothing left to do after waitOnly.
func reap(*exec.Cmd) error { return nil }
