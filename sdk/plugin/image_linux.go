package plugin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// copyToMemory puts a verified copy into sealed memory, which nobody can write to any more, and says whether
// it could: a kernel may forbid it.
func (im *image) copyToMemory(r io.Reader, c *Config) (bool, error) {
	fd, err := unix.MemfdCreate("plugin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 there is no MFD_EXEC, and every copy is executable
		fd, err = unix.MemfdCreate("plugin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return false, nil
	}
	f := os.NewFile(uintptr(fd), "plugin")
	if err := copyHashed(f, r, c.SHA256); err != nil {
		f.Close()
		return false, fmt.Errorf("%s: %w", c.Path, err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := f.Chmod(0o500); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err == nil {
			im.keep, im.path = f, path
			return true, nil
		}
	}
	f.Close()
	return false, nil
}

// pinInPlace executes the very file that was hashed, through its descriptor.
func (im *image) pinInPlace(c *Config) error {
	f, _, err := openRegular("Path", c.Path)
	if err != nil {
		return err
	}
	if err := copyHashed(io.Discard, f, c.SHA256); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	im.keep = f
	if path := fmt.Sprintf("/proc/self/fd/%d", f.Fd()); exists(path) {
		im.path = path
	}
	return nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func mayExecute(info fs.FileInfo) bool { return info.Mode().Perm()&0o111 != 0 }
