package file

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

const (
	maxTrustFile = 8 << 20 // the CA bundles of operating systems have some 250 KB
	maxCRLFile   = 64 << 20
	maxKeyFile   = 1 << 20
	maxFiles     = 4096 // of one folder

	defaultSettle = 200 * time.Millisecond
	settleFor     = 10 * time.Second // how long a file may go on changing under our eyes
)

// An input is a path to read.
type input struct {
	kind  string // what the file is, for messages: "CA file", "private key", …
	path  string
	limit int64
	// pick chooses the entries of a folder that are read. Nil: the path must be a file.
	pick func(name string) bool
}

// A blob is what a file held when it was read, whole.
type blob struct {
	kind, path string
	data       []byte
	mode       fs.FileMode
	info       fs.FileInfo
	input      int // the index of the input that it came from
}

// A digest is equal if and only if the files, their contents and their permissions are.
type digest [sha256.Size]byte

// errTorn: a file changed while it was read.
var errTorn = errors.New("changes while it is read")

// read reads the inputs as of one moment: no file changed between the first read and the last, and none
// has changed for settle.
func read(ctx context.Context, inputs []input, settle time.Duration) ([]blob, digest, error) {
	if settle == 0 {
		settle = defaultSettle
	}
	start := time.Now()
	var last digest
	var lastAt time.Time
	for {
		if err := ctx.Err(); err != nil {
			return nil, digest{}, err
		}
		blobs, err := readOnce(ctx, inputs)
		if err != nil {
			// A link may have been swapped between two steps of its resolution: that is over by now.
			blobs, err = readOnce(ctx, inputs)
		}
		now := time.Now()
		torn := errors.Is(err, errTorn)
		switch {
		case err != nil && !torn:
			return nil, digest{}, err
		case !torn && (settle < 0 || !recent(blobs, now, settle)):
			return blobs, sum(blobs, nil), nil
		case !torn:
			// Whoever writes may not be done. The file's clock may be another machine's, so that what
			// counts is to see the same twice.
			d := sum(blobs, nil)
			if d == last && now.Sub(lastAt) >= settle {
				return blobs, d, nil
			}
			if d != last {
				last, lastAt = d, now
			}
		}
		if now.Sub(start) > max(settleFor, 10*settle) {
			return nil, digest{}, bad(sdk.ErrMaterial, inputs[0].kind, inputs[0].path,
				"it, or a file that belongs to it, has not been left alone for %v; stop whatever writes it again and again",
				now.Sub(start).Round(time.Second))
		}
		if err := sleep(ctx, max(settle, 10*time.Millisecond)); err != nil {
			return nil, digest{}, err
		}
	}
}

// recent reports whether a file was written less than settle ago. The time of a file server may be a little
// ahead.
func recent(blobs []blob, now time.Time, settle time.Duration) bool {
	for _, b := range blobs {
		if now.Sub(b.info.ModTime()).Abs() < settle {
			return true
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// sum is the digest of what readOnce returned. An error counts as content: it appears and goes away.
func sum(blobs []blob, err error) digest {
	h := sha256.New()
	for _, b := range blobs {
		hashPart(h, []byte(b.path))
		hashPart(h, []byte(b.mode.String()))
		hashPart(h, b.data)
	}
	if err != nil {
		hashPart(h, []byte(err.Error()))
	}
	return digest(h.Sum(nil))
}

func hashPart(h hash.Hash, p []byte) {
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
	h.Write(p)
}

// readOnce reads every input. It returns errTorn if any of them changed meanwhile.
func readOnce(ctx context.Context, inputs []input) ([]blob, error) {
	var blobs []blob
	folders := map[string]fs.FileInfo{}
	for i, in := range inputs {
		if in.path == "" {
			continue
		}
		info, err := os.Stat(in.path)
		if err != nil {
			return nil, ioError(in.kind, in.path, err)
		}
		if !info.IsDir() {
			b, err := readFile(in, in.path)
			if err != nil {
				return nil, err
			}
			b.input = i
			blobs = append(blobs, b)
			continue
		}
		if in.pick == nil {
			return nil, bad(sdk.ErrMaterial, in.kind, in.path, "is a folder; name a file in it")
		}
		folders[in.path] = info
		found, err := readFolder(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, b := range found {
			b.input = i
			blobs = append(blobs, b)
		}
	}
	for path, was := range folders {
		if now, err := os.Stat(path); err != nil || !same(was, now) {
			return nil, errTorn
		}
	}
	for _, b := range blobs {
		if now, err := os.Stat(b.path); err != nil || !same(b.info, now) {
			return nil, errTorn
		}
	}
	return blobs, nil
}

func readFolder(ctx context.Context, in input) ([]blob, error) {
	names, err := list(in)
	if err != nil {
		return nil, err
	}
	var blobs []blob
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := filepath.Join(in.path, name)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		b, err := readFile(in, path)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, b)
	}
	if len(blobs) == 0 {
		return nil, bad(sdk.ErrNotFound, in.kind, in.path, "the folder has no file for this (*.pem, *.crt, *.cer, *.der, *.crl, or named by a hash); put one there, or remove the folder from the configuration")
	}
	return blobs, nil
}

// list returns the names in a folder that in picks, sorted.
func list(in input) ([]string, error) {
	entries, err := os.ReadDir(in.path)
	if err != nil {
		return nil, ioError(in.kind, in.path, err)
	}
	var names []string
	for _, e := range entries {
		if in.pick(e.Name()) {
			names = append(names, e.Name())
		}
	}
	if len(names) > maxFiles {
		return nil, bad(sdk.ErrMaterial, in.kind, in.path, "the folder has %d files, more than %d", len(names), maxFiles)
	}
	return names, nil
}

// readFile reads a file whole, or returns errTorn.
func readFile(in input, path string) (blob, error) {
	f, err := open(path)
	if err != nil {
		return blob{}, ioError(in.kind, path, err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return blob{}, ioError(in.kind, path, err)
	}
	if !before.Mode().IsRegular() {
		return blob{}, bad(sdk.ErrMaterial, in.kind, path, "is no regular file (%v)", before.Mode().Type())
	}
	data, err := io.ReadAll(io.LimitReader(f, in.limit+1))
	if err != nil {
		return blob{}, ioError(in.kind, path, err)
	}
	if int64(len(data)) > in.limit {
		return blob{}, bad(sdk.ErrMaterial, in.kind, path, "has more than %d MiB, the most that is read; is it the right file?", in.limit>>20)
	}
	after, err := f.Stat()
	if err != nil {
		return blob{}, ioError(in.kind, path, err)
	}
	// A file that is made up as it is read has size 0.
	if !same(before, after) || before.Size() != 0 && before.Size() != int64(len(data)) {
		return blob{}, errTorn
	}
	return blob{kind: in.kind, path: path, data: data, mode: before.Mode(), info: before}, nil
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}
