//go:build unix

package plugin

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/alphaonedev/federation/internal/fault"
)

// A job is what a platform needs to end a whole group; here the process id is enough.
type job struct{}

func (job) close() {}

func terminateGroup(pid int) { _ = unix.Kill(-pid, unix.SIGTERM) }

func killGroup(pid int, _ job) { _ = unix.Kill(-pid, unix.SIGKILL) }

// socketDir makes a private folder whose path leaves room for a socket's name (104 octets on some systems).
func socketDir(base string) (string, error) {
	const room = 60
	if base == "" {
		base = os.TempDir()
	}
	if len(base) > 104-room {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "fp")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// openNow does not wait for a writer, should the path be a named pipe.
func openNow(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) }

// loopback is for platforms without sockets in the file system.
func loopback(string) error { return fault.ErrUnsupported }
