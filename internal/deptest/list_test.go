package deptest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/alphaonedev/federation"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	GoFiles    []string
	Module     *struct{ Path string }
}

// own is the path inside the module, "." for its root, or "" for the packages of others.
func (p pkg) own() string { return own(p.ImportPath) }

func own(path string) string {
	if path == module {
		return "."
	}
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return rest
}

// goCommand runs go in this folder, with no build tags of the caller's.
func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	out, err := cmd.Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, ee.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

func decode(t *testing.T, out []byte) []pkg {
	t.Helper()
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// packages are all packages of the module, by their path in it.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	listOnce.Do(func() {
		listed = map[string]pkg{}
		for _, p := range decode(t, goCommand(t, "list", "-json=ImportPath,Imports,GoFiles", module+"/...")) {
			listed[p.own()] = p
		}
	})
	return listed
}

var (
	listOnce sync.Once
	listed   map[string]pkg
)

// reach are all packages that the given packages of the module link, themselves included.
func reach(t *testing.T, paths ...string) []pkg {
	t.Helper()
	args := []string{"list", "-deps", "-json=ImportPath,Standard,Module"}
	for _, p := range paths {
		args = append(args, module+"/"+p)
	}
	return decode(t, goCommand(t, args...))
}
