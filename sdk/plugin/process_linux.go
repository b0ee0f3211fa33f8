package plugin

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

func setAttributes(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// confine limits what the process may take. No core is ever dumped: it would hold keys.
func confine(p *os.Process, l Limits) (job, error) {
	set := func(resource int, to uint64) error {
		return unix.Prlimit(p.Pid, resource, &unix.Rlimit{Cur: to, Max: to}, nil)
	}
	if err := set(unix.RLIMIT_CORE, 0); err != nil && err != unix.ESRCH {
		return job{}, fmt.Errorf("plugin: limit on core dumps: %w", err)
	}
	if l.Files > 0 {
		if err := set(unix.RLIMIT_NOFILE, l.Files); err != nil && err != unix.ESRCH {
			return job{}, fmt.Errorf("plugin: Limits.Files: %w", err)
		}
	}
	if l.Memory > 0 {
		if err := set(unix.RLIMIT_AS, l.Memory); err != nil && err != unix.ESRCH {
			return job{}, fmt.Errorf("plugin: Limits.Memory: %w", err)
		}
	}
	return job{}, nil
}

// waitOnly waits for the process to end and leaves its id taken, so that its group can still be named.
func waitOnly(cmd *exec.Cmd) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return nil
		}
	}
}

// reap frees the process id.
func reap(cmd *exec.Cmd) error { return cmd.Wait() }
