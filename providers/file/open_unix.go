//go:build unix

package file

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// open does not wait for a writer, should the path be a named pipe.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// loose reports whether others than the owner may read or write a file. Unix alone says so in the mode.
func loose(mode fs.FileMode) bool { return mode.Perm()&0o066 != 0 }

// isMaze reports whether links on the way to a file lead in a circle.
func isMaze(err error) bool { return errors.Is(err, syscall.ELOOP) }
