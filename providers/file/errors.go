package file

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/alphaonedev/federation/sdk"
)

// bad is the one place where errors of this package are made: kind and path of the file, what was found and the
// cure, and the sentinel.
func bad(sentinel error, kind, path, format string, args ...any) error {
	return fmt.Errorf("file: %s %s: %s: %w", kind, path, fmt.Sprintf(format, args...), sentinel)
}

// ioError gives an error of the operating system its sentinel.
func ioError(kind, path string, err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err // the path is in the message already
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad(sdk.ErrNotFound, kind, path, "%v; create it, or correct the path", err)
	case errors.Is(err, syscall.ENOTDIR):
		return bad(sdk.ErrNotFound, kind, path, "%v; a part of the path before its last is a file: correct the path", err)
	case isMaze(err):
		return bad(sdk.ErrNotFound, kind, path, "%v; links on the way lead in a circle: correct them", err)
	case errors.Is(err, fs.ErrPermission):
		return bad(sdk.ErrPermission, kind, path, "%v; let the user of this process read it", err)
	default:
		return bad(sdk.ErrUnavailable, kind, path, "%v", err)
	}
}

// noPath is the error of a field that has to name a file.
func noPath(field string) error {
	return fmt.Errorf("file: %w", &sdk.ConfigError{Field: field, Err: errors.New("is empty; name a file")})
}
