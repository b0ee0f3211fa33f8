package plugin

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/alphaonedev/federation/internal/fault"
)

// A job holds every process that the plugin starts, and ends them all when the host's handle goes away.
type job struct{ handle windows.Handle }

func (j job) close() {
	if j.handle != 0 {
		_ = windows.CloseHandle(j.handle)
	}
}

func setAttributes(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

// confine puts the process into a job that dies with the host, and limits its memory.
func confine(p *os.Process, l Limits) (job, error) {
	handle, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return job{}, fmt.Errorf("plugin: job object: %w", err)
	}
	j := job{handle}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if l.Memory > 0 {
		info.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		info.JobMemoryLimit = uintptr(l.Memory)
	}
	if _, err := windows.SetInformationJobObject(handle, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info))); err != nil {
		j.close()
		return job{}, fmt.Errorf("plugin: limits of the job object: %w", err)
	}
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err != nil {
		j.close()
		return job{}, fmt.Errorf("plugin: job object: %w", err)
	}
	defer windows.CloseHandle(process)
	if err := windows.AssignProcessToJobObject(handle, process); err != nil {
		j.close()
		return job{}, fmt.Errorf("plugin: job object: %w", err)
	}
	return j, nil
}

func waitOnly(cmd *exec.Cmd) error { return cmd.Wait() }

func reap(*exec.Cmd) error { return nil }

func killGroup(_ int, j job) { _ = windows.TerminateJobObject(j.handle, 1) }

func terminateGroup(pid int) {
	_ = windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(pid))
}

func socketDir(base string) (string, error) { return os.MkdirTemp(base, "fp") }

func openNow(path string) (*os.File, error) { return os.Open(path) }

// loopback accepts an address that no other machine can reach.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%w: the plugin listens on %q, want 127.0.0.1", fault.ErrPermission, clean(address))
	}
	return nil
}
