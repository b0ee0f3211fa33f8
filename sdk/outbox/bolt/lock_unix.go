//go:build unix && !solaris && !aix

package bolt

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the lock that bbolt takes, and fails when another holds it.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// unlock takes it off. An error says that the file is closed, and so unlocked.
func unlock(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }
