//go:build !linux

package plugin

import (
	"fmt"
	"io"
	"io/fs"
	"runtime"
)

// copyToMemory cannot: only Linux executes from sealed memory.
func (im *image) copyToMemory(io.Reader, *Config) (bool, error) { return false, nil }

// pinInPlace verifies the interpreter and executes it by its path.
func (im *image) pinInPlace(c *Config) error {
	f, _, err := openRegular("Path", c.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := copyHashed(io.Discard, f, c.SHA256); err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	return nil
}

func mayExecute(info fs.FileInfo) bool {
	return runtime.GOOS == "windows" || info.Mode().Perm()&0o111 != 0
}
