package file

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

const defaultPoll = 30 * time.Second

// watch calls changed when the files' contents, permissions or absence differ from what it saw last, and once at
// the start. It looks when a folder on the way to a file says that something happened, when a pull has seen what it has
// not, and every poll; it tells only of files that were left alone for settle.
func watch(ctx context.Context, inputs []input, settle, poll time.Duration, logger hclog.Logger, pulls *pulls, changed func()) error {
	if settle == 0 {
		settle = defaultSettle
	}
	if poll == 0 {
		poll = defaultPoll
	}
	w := &watcher{inputs: inputs, logger: logger, added: map[string]fs.FileInfo{}}
	var events <-chan fsnotify.Event
	var errs <-chan error
	if n, err := fsnotify.NewWatcher(); err != nil {
		warn(logger, "the system does not tell of changes; the files are read again from time to time", "every", poll.String(), "error", err.Error())
	} else {
		w.notify = n
		events, errs = n.Events, n.Errors
		defer n.Close()
	}
	var ticks <-chan time.Time
	if poll > 0 {
		t := time.NewTicker(poll)
		defer t.Stop()
		ticks = t.C
	}

	told := pulls.join()
	defer pulls.leave(told)
	w.follow()
	seen, _ := w.look(ctx, settle) // before changed: what happens from here on is seen
	pulls.tell(told, seen)
	changed()
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	pending := false
	look := func() {
		if !pending {
			pending = true
			again.Reset(max(settle, time.Millisecond))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if e.Has(fsnotify.Create | fsnotify.Remove | fsnotify.Rename) {
				w.drop(filepath.Clean(e.Name))
			}
			if w.concerns(e.Name) {
				look()
			}
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// Events were lost, or a folder is gone.
			warn(logger, "watching files", "error", err.Error())
			look()
		case <-told.strayed:
			look()
		case <-ticks:
			look()
		case <-again.C:
			pending = false
			w.follow()
			now, quiet := w.look(ctx, settle)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			switch {
			case pulls.know(told, now):
				seen = now
			case quiet || now == seen:
				seen = now
				pulls.tell(told, now)
				changed()
			default:
				seen = now // whoever writes may not be done
				look()
			}
		}
	}
}

// A watcher keeps a watch on every folder that is on the way to a file. One goroutine uses it.
type watcher struct {
	inputs []input
	logger hclog.Logger
	notify *fsnotify.Watcher
	added  map[string]fs.FileInfo // watched folders
	at     places
}

// look is the digest of the files now, and whether they have been left alone.
func (w *watcher) look(ctx context.Context, settle time.Duration) (digest, bool) {
	blobs, err := readOnce(ctx, w.inputs)
	return sum(blobs, err), err == nil && !recent(blobs, time.Now(), settle)
}

func (w *watcher) concerns(name string) bool {
	name = filepath.Clean(name)
	return w.at.names[name] || w.at.all[filepath.Dir(name)] || w.at.all[name] || w.at.dirs[name]
}

// follow brings the watches in line with where the paths lead now. Links may change meanwhile: it looks again until
// nothing is new.
func (w *watcher) follow() {
	for range 8 {
		w.at = locate(w.inputs)
		if w.notify == nil || !w.sync() {
			return
		}
	}
}

// drop gives up the watch of a folder whose name came or went: what bears the name now may be another folder, and
// have the inode of the one before.
func (w *watcher) drop(dir string) {
	if _, ok := w.added[dir]; ok {
		_ = w.notify.Remove(dir) // gone already, perhaps
		delete(w.added, dir)
	}
}

// sync adds and removes watches and reports whether it added one.
func (w *watcher) sync() bool {
	added := false
	for dir, was := range w.added {
		info, err := os.Stat(dir)
		if !w.at.dirs[dir] || err != nil || !os.SameFile(was, info) {
			w.drop(dir)
		}
	}
	for dir := range w.at.dirs {
		if _, ok := w.added[dir]; ok {
			continue
		}
		info, err := os.Stat(dir)
		if err != nil {
			continue
		}
		if err := w.notify.Add(dir); err != nil {
			warn(w.logger, "cannot watch a folder; its files are read again from time to time", "path", dir, "error", err.Error())
			w.added[dir] = info // do not try, and warn, at every event
			continue
		}
		w.added[dir] = info
		added = true
	}
	return added
}
