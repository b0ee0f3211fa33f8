package stepca

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lighter are the build tags with which a program leaves out the databases that step-ca's own package for authorities links.
const lighter = "nobadger,nobbolt,nomysql,nopgx"

var sizes = flag.Bool("sizes", false, "link the programs of TestWeight, which takes minutes, and report their sizes")

// What the provider weighs, in a node's process and as a plugin. docs/benchmarks-stepca.md has the figures. A node that uses the
// plugin has none of step-ca's packages.
func TestWeight(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []struct {
		name, pkg, tags string
		smallstep       bool
	}{
		{"sdk and file", "./testdata/weight/file", "", false},
		{"stepca in process", "./testdata/weight/stepca", "", true},
		{"stepca in process, lighter", "./testdata/weight/stepca", lighter, true},
		{"stepca as a plugin, the node", "./testdata/weight/plugin", "", false},
		{"stepca as a plugin, the plugin", "./cmd/federation-stepca", "", true},
		{"stepca as a plugin, the plugin, lighter", "./cmd/federation-stepca", lighter, true},
	} {
		packages, modules, smallstep := 0, map[string]bool{}, false
		for line := range strings.Lines(goCommand(t, "list", "-tags", p.tags, "-deps", "-f",
			"{{if not .Standard}}{{with .Module}}{{.Path}}{{end}} {{.ImportPath}}{{end}}", p.pkg)) {
			module, path, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok || module == "github.com/alphaonedev/federation" {
				continue
			}
			packages++
			modules[module] = true
			smallstep = smallstep || strings.Contains(path, "smallstep")
		}
		size := ""
		if *sizes {
			out := filepath.Join(dir, "program")
			goCommand(t, "build", "-trimpath", "-ldflags=-s -w", "-tags", p.tags, "-o", out, p.pkg)
			info, err := os.Stat(out)
			must(t, err)
			size = fmt.Sprintf(", %5.1f MB", float64(info.Size())/1e6)
		}
		t.Logf("%-40s %3d packages of %3d modules%s", p.name, packages, len(modules), size)
		if smallstep != p.smallstep {
			t.Errorf("%s: links packages of smallstep: %v", p.name, smallstep)
		}
	}
}

func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
