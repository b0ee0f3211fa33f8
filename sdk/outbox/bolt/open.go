package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	defaultLockTimeout = time.Second
	fileMode           = 0o600
	queuedWrites       = 256
)

// Open opens the outbox in the file at path and creates it when there is none, with mode 0600. The whole
// file is read and checked. A damaged one is renamed to path with ".corrupt-" and the time appended, reported
// to OnCorrupt, and an empty one takes its place. Errors: ErrLocked when another process holds the file,
// ErrFormat for a file that is no outbox or that a later version wrote, and what the file system says; in
// all these cases the file is left as it is. The caller closes the Store.
func Open(path string, opts Options) (*Store, error) {
	if opts.LockTimeout <= 0 {
		opts.LockTimeout = defaultLockTimeout
	}
	log := opts.Logger
	if log == nil {
		log = hclog.NewNullLogger()
	}
	if opts.OnCorrupt == nil {
		opts.OnCorrupt = func(kept string, err error) {
			log.Error("the outbox file is damaged; it is kept and a new one begun", "kept", kept, "error", err)
		}
	}
	s, err := open(path, opts)
	if errors.Is(err, ErrCorrupt) {
		var kept string
		if kept, err = setAside(path, err, opts.OnCorrupt); err == nil {
			s, err = open(path, opts)
		} else {
			err = fmt.Errorf("cannot keep the damaged file as %s: %w", kept, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: %s: %w", path, err)
	}
	go s.committer()
	return s, nil
}

func open(path string, opts Options) (*Store, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createFile(path); err != nil {
			return nil, err
		}
	}
	var file *os.File
	s := &Store{limits: opts.Limits.WithDefaults(), writes: make(chan *write, queuedWrites), done: make(chan struct{})}
	err := guard(func() (err error) {
		s.db, err = bbolt.Open(path, fileMode, &bbolt.Options{
			Timeout:      opts.LockTimeout,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w by another process (or another Store): give each its own file: %w", ErrLocked, err)
	case errors.As(err, new(*fs.PathError)), errors.As(err, new(syscall.Errno)): // no memory to map it, say
		return nil, err
	default:
		abandon(file)
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := guard(s.load); err != nil {
		if cerr := guard(s.db.Close); cerr != nil {
			abandon(file)
		}
		return nil, err
	}
	return s, nil
}

// abandon lets go of a file that bbolt left open when it panicked. The mapping stays, and with it the lock
// unless that is taken off by itself.
func abandon(file *os.File) {
	if file == nil {
		return
	}
	unlock(file)
	_ = file.Close() // an error says that bbolt closed it
}

// load checks the format, migrates from an older one, and surveys the file.
func (s *Store) load() error {
	var empty bool
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			first, _ := tx.Cursor().First()
			if empty = first == nil; empty {
				return nil
			}
			return fmt.Errorf("%w: it is a bbolt file of something else", ErrFormat)
		}
		v := meta.Get(formatKey)
		if len(v) != 4 {
			return fmt.Errorf("%w: its format reads %x", ErrFormat, v)
		}
		if n := binary.BigEndian.Uint32(v); n > format || n == 0 {
			return fmt.Errorf("%w: it has format %d, known are 1 to %d: use the version that wrote it, or a later one", ErrFormat, n, format)
		}
		s.counts, err = survey(tx)
		return err
	})
	if err == nil && empty {
		s.counts = make(map[string]*counts)
		return s.db.Update(create)
	}
	return err
}

// createFile makes an empty outbox under another name and links it into place, so that a file at path is
// always whole. Another process that does the same wins or loses; either way there is one file.
func createFile(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := tmp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(tmp.Name(), fileMode, &bbolt.Options{Timeout: defaultLockTimeout})
	if err != nil {
		return err
	}
	err = db.Update(create)
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil // no hard links here: bbolt creates the file in place
	}
	syncDir(filepath.Dir(path))
	return nil
}

// setAside renames the damaged file, while holding it against a process that does the same.
func setAside(path string, why error, report func(string, error)) (kept string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return "", fmt.Errorf("%w: %w", ErrLocked, err)
	}
	held, err := f.Stat()
	if err != nil {
		return "", err
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(held, now) {
		return "", nil // somebody else has moved it
	}
	base := path + ".corrupt-" + time.Now().UTC().Format("20060102T150405Z")
	kept = base
	for i := 1; ; i++ {
		if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
			break
		}
		kept = fmt.Sprintf("%s-%d", base, i)
	}
	if err := os.Rename(path, kept); err != nil {
		return kept, err
	}
	syncDir(filepath.Dir(path))
	report(kept, why)
	return kept, nil
}

// syncDir makes a rename last. Where a directory cannot be synchronised there is nothing to do about it.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// guard runs f, which reads mapped memory, and makes ErrCorrupt of what a damaged or cut file makes of that:
// a panic of bbolt's own checks, or a fault.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	return f()
}
