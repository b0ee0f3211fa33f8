package file

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// places says where a change of the inputs would show.
type places struct {
	dirs  map[string]bool // folders to watch
	names map[string]bool // entries in them that matter
	all   map[string]bool // folders of which every entry matters
}

// locate walks each path as the system does. The folder of every symbolic link on the way matters, since the link
// may be swapped, and the folder of what they lead to. Where nothing is yet, the last folder that exists matters.
func locate(inputs []input) places {
	p := places{dirs: map[string]bool{}, names: map[string]bool{}, all: map[string]bool{}}
	for _, in := range inputs {
		if in.path == "" {
			continue
		}
		real, ok := p.walk(in.path)
		if !ok || in.pick == nil {
			continue
		}
		info, err := os.Stat(real)
		if err != nil || !info.IsDir() {
			continue
		}
		p.dirs[real], p.all[real] = true, true
		names, err := list(in)
		if err != nil {
			continue
		}
		for _, name := range names {
			path := filepath.Join(real, name)
			if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
				p.walk(path)
			}
		}
	}
	return p
}

const maxLinks = 64

// walk notes the places on the way to path and returns where it ends, if anything is there.
func (p places) walk(path string) (string, bool) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	at, todo := split(abs)
	links := 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			p.note(at, next)
			return "", false
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if len(todo) == 0 {
				p.note(at, next)
			}
			at = next
			continue
		}
		p.note(at, next)
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return "", false
		}
		if filepath.IsAbs(target) {
			var rest []string
			at, rest = split(target)
			todo = slices.Concat(rest, todo)
			continue
		}
		todo = slices.Concat(parts(target), todo)
	}
	return at, true
}

func (p places) note(dir, name string) { p.dirs[dir], p.names[name] = true, true }

// split returns the root of an absolute path and the names below it.
func split(abs string) (string, []string) {
	volume := filepath.VolumeName(abs)
	return volume + string(filepath.Separator), parts(abs[len(volume):])
}

func parts(path string) []string {
	all := strings.FieldsFunc(path, func(r rune) bool { return r < 0x80 && os.IsPathSeparator(uint8(r)) })
	return slices.DeleteFunc(all, func(s string) bool { return s == "." })
}
