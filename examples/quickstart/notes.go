package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// notes is the application: a folder with one file for each note, named by the operation that wrote it. Because
// the operation is kept with the data, a note that comes again after a crash is recognised.
type notes string

// keep stores a note unless it is there already.
func (n notes) keep(operation string, text []byte) (quorum.Verdict, error) {
	if err := os.MkdirAll(string(n), 0o700); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(filepath.Join(string(n), operation), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return sdk.Noop, nil
	}
	if err != nil {
		return 0, err
	}
	_, err = f.Write(text)
	return sdk.Applied, errors.Join(err, f.Close())
}

// take is what fed.Handler calls with a note of a peer. Who sent it, and that it is whole, has been checked.
func (n notes) take(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
	return n.keep(d.Operation, d.Body)
}

func (n notes) count() int {
	files, err := os.ReadDir(string(n))
	if err != nil {
		return 0
	}
	return len(files)
}
