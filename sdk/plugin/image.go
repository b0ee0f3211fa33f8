package plugin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alphaonedev/federation/internal/fault"
)

// An image is what is executed: the verified copy, made once and used for every restart, so that a file that
// changes on disk later changes nothing.
type image struct {
	path   string // to execute
	argv0  string // what the process is told its name is
	dir    string // its working directory
	digest string // hexadecimal, for Status

	keep    *os.File // holds the copy in memory
	private string   // folder to remove
}

// maxFile bounds each file of a plugin.
const maxFile = 1 << 30

func newImage(c *Config) (*image, error) {
	im := &image{path: c.Path, argv0: c.Path, dir: string(filepath.Separator)}
	err := executable(c.Path)
	if err == nil {
		err = im.fill(c)
	}
	if err != nil {
		im.close()
		return nil, err
	}
	return im, nil
}

func (im *image) fill(c *Config) error {
	if len(c.Files) > 0 {
		if err := im.copyFiles(c); err != nil {
			return err
		}
		if c.SHA256 == "" {
			return nil
		}
		// An interpreter finds its library by where it lies, so the file itself is executed, through
		// the descriptor that was hashed where the platform allows.
		return im.pinInPlace(c)
	}
	f, _, err := openRegular("Path", c.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if c.Unpinned {
		im.digest, err = digestOf(f)
		return err
	}
	im.digest = strings.ToLower(c.SHA256)
	var head [2]byte
	if _, err := io.ReadFull(f, head[:]); err == nil && string(head[:]) != "#!" {
		// The kernel reopens a script by its path, so a script cannot run from memory.
		if done, err := im.copyToMemory(io.MultiReader(bytes.NewReader(head[:]), f), c); done || err != nil {
			return err
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fileError("Path", err)
	}
	return im.copyToFolder(f, c)
}

// copyToFolder executes a copy that lies in a folder of our own.
func (im *image) copyToFolder(f io.Reader, c *Config) error {
	if err := im.makePrivate(c); err != nil {
		return err
	}
	name := filepath.Join(im.private, filepath.Base(c.Path))
	if err := copyVerified(name, f, c.SHA256, 0o500); err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	im.path = name
	return nil
}

func (im *image) makePrivate(c *Config) (err error) {
	if im.private != "" {
		return nil
	}
	if im.private, err = os.MkdirTemp(c.TempDir, "fedplugin"); err != nil {
		return fmt.Errorf("a private folder for the copy (TempDir): %w: %w", fault.ErrUnavailable, err)
	}
	return nil
}

func (im *image) copyFiles(c *Config) error {
	if err := im.makePrivate(c); err != nil {
		return err
	}
	manifest := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		from, to := filepath.Join(c.Dir, name), filepath.Join(im.private, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return fmt.Errorf("a private folder for the copy: %w", err)
		}
		f, info, err := openRegular("Files", from)
		if err != nil {
			return err
		}
		err = copyVerified(to, f, c.Files[name], 0o400|info.Mode().Perm()&0o100)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		fmt.Fprintf(manifest, "%s  %s\n", strings.ToLower(c.Files[name]), filepath.ToSlash(name))
	}
	im.dir = im.private
	im.digest = hex.EncodeToString(manifest.Sum(nil))
	return nil
}

// copyVerified copies r to a new file and checks the digest of what it wrote.
func copyVerified(name string, r io.Reader, want string, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = copyHashed(f, r, want)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// copyHashed copies r to w and compares the digest of what it copied.
func copyHashed(w io.Writer, r io.Reader, want string) error {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return err
	case n > maxFile:
		return fmt.Errorf("%w: larger than %d bytes", fault.ErrConfig, maxFile)
	}
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, want) {
		return fmt.Errorf("%w: SHA-256 is %s, pinned is %s; if the file is the one you mean, pin its digest",
			fault.ErrConfig, got, strings.ToLower(want))
	}
	return nil
}

func digestOf(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// openRegular opens a file and looks at what it has opened: what lay at the path a moment ago says nothing.
func openRegular(field, path string) (*os.File, fs.FileInfo, error) {
	f, err := openNow(path)
	if err != nil {
		return nil, nil, fileError(field, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, &fault.ConfigError{Field: field, Err: err}
	}
	return f, info, nil
}

// executable says in words why a path cannot be started.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fileError("Path", err)
	case !info.Mode().IsRegular():
		return &fault.ConfigError{Field: "Path", Err: fmt.Errorf("%s is no regular file", path)}
	case !mayExecute(info):
		return &fault.ConfigError{Field: "Path", Err: fmt.Errorf("%s is not executable (mode %v); chmod +x it", path, info.Mode().Perm())}
	}
	return nil
}

func fileError(field string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", fault.ErrNotFound, err)
	}
	return &fault.ConfigError{Field: field, Err: err}
}

func (im *image) close() {
	if im.keep != nil {
		im.keep.Close()
	}
	if im.private != "" {
		_ = os.RemoveAll(im.private)
	}
}

const maxManifest = 4 << 20

// ReadManifest reads Config.Files from the output of sha256sum: a digest, two spaces or a space and an
// asterisk, and a path on each line. Empty lines are skipped. One that is wrong, or larger than 4 MiB, is ErrConfig.
func ReadManifest(r io.Reader) (map[string]string, error) {
	what := "manifest"
	if f, ok := r.(interface{ Name() string }); ok { // a file
		what += " " + f.Name()
	}
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("plugin: %s: %w", what, err)
	}
	if len(text) > maxManifest {
		return nil, fmt.Errorf("plugin: %s: larger than %d bytes; name fewer files: %w", what, maxManifest, fault.ErrConfig)
	}
	files := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimRight(line, "\r")
		if line == "" {
			continue
		}
		if len(line) < 67 || !isDigest(line[:64]) || line[64] != ' ' || (line[65] != ' ' && line[65] != '*') {
			return nil, fmt.Errorf("plugin: %s, line %d: want a SHA-256, two spaces and a path: %w", what, i+1, fault.ErrConfig)
		}
		name := filepath.Clean(filepath.FromSlash(line[66:]))
		if _, twice := files[name]; twice {
			return nil, fmt.Errorf("plugin: %s, line %d: %q is named twice: %w", what, i+1, name, fault.ErrConfig)
		}
		files[name] = line[:64]
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("plugin: %s: it names no file: %w", what, fault.ErrConfig)
	}
	return files, nil
}
