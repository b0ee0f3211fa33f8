package deptest

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// core is what everybody who uses the library links.
var core = []string{"sdk", "sdk/quorum", "sdk/outbox", "signer", "transport", "providers/file"}

// light are the modules that the core may reach, beside Go's own.
var light = []string{
	"github.com/fsnotify/fsnotify",
	"github.com/hashicorp/go-hclog",
	"github.com/fatih/color", // of go-hclog, and the next two
	"github.com/mattn/go-colorable",
	"github.com/mattn/go-isatty",
	"github.com/youmark/pkcs8",
	"golang.org/x/crypto",
	"golang.org/x/net",
	"golang.org/x/sync",
	"golang.org/x/sys",
	"golang.org/x/text",
	"software.sslmate.com/src/go-pkcs12",
}

// most is how much a stripped program may grow by sdk and providers/file over one that uses net/http: 2 % more than it
// did when this was written. Almost half is the code of others, the logger and the formats above all: TestWhatGrows
// says how much is whose, and docs/benchmarks.md why it stays. What adds to it unseen: sorting a slice of structs, 10 KB
// for each type (sort their names, as others do), and a closure that the compiler copies into each of its calls (a
// table and a loop).
const most = 2_400_000

var grows = flag.Bool("grows", false, "link the programs of TestWhatGrows and report their sizes")

func TestTheCoreReachesLightModulesOnly(t *testing.T) {
	have := packages(t)
	var paths []string
	for _, p := range core {
		if _, ok := have[p]; !ok {
			t.Errorf("%s is not there", p)
			continue
		}
		paths = append(paths, p)
	}
	var modules []string
	beyond := 0
	for _, p := range reach(t, paths...) {
		if p.Standard || p.Module == nil || p.Module.Path == module {
			continue
		}
		beyond++
		if !slices.Contains(light, p.Module.Path) {
			t.Errorf("the core reaches %s", p.ImportPath)
		}
		if !slices.Contains(modules, p.Module.Path) {
			modules = append(modules, p.Module.Path)
		}
	}
	slices.Sort(modules)
	t.Logf("%d packages beyond the standard library and this module, of %d modules: %s", beyond, len(modules), strings.Join(modules, " "))
}

func TestSignerAndTransportServeWithoutTheSDK(t *testing.T) {
	for _, leaf := range []string{"signer", "transport"} {
		for _, p := range reach(t, leaf) {
			if o := p.own(); o == "sdk" || strings.HasPrefix(o, "sdk/") || strings.HasPrefix(o, "providers/") {
				t.Errorf("%s reaches %s", leaf, o)
			}
		}
	}
}

func TestASmallProgramGrowsByNoMoreThanIsKnown(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	bare, whole := size(t, "bare", ""), size(t, "whole", "")
	t.Logf("net/http client %d bytes, with sdk and providers/file %d: %d more", bare, whole, whole-bare)
	if whole-bare > most {
		t.Errorf("a program grows by %d bytes, over %d", whole-bare, most)
	}
}

// TestWhatGrows prints the table of docs/benchmarks.md: bare with one more of what the library builds on at a time, then
// the library.
func TestWhatGrows(t *testing.T) {
	if !*grows {
		t.Skip("links nine programs; give -grows")
	}
	for _, rows := range [][]struct{ what, program, tags string }{
		{
			{"client of net/http with a certificate", "bare", ""},
			{"and go-hclog", "bare", "hclog"},
			{"and encoding/json", "bare", "hclog,json"},
			{"and x/net/idna", "bare", "hclog,json,idna"},
			{"and the formats of key files", "bare", "hclog,json,idna,formats"},
			{"and fsnotify", "bare", "hclog,json,idna,formats,watch"},
			{"client of sdk and providers/file", "whole", ""},
		},
		{
			{"client and server of net/http", "bare", "serve"},
			{"and all of the above", "bare", "serve,hclog,json,idna,formats,watch"},
			{"node of sdk and providers/file", "node", ""},
		},
	} {
		var first, last int64
		for _, r := range rows {
			n := size(t, r.program, r.tags)
			if first == 0 {
				first, last = n, n
			}
			t.Logf("| %s | %.2f | %.2f | %.2f |", r.what, mb(n), mb(n-last), mb(n-first))
			last = n
		}
	}
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// size is that of a stripped program of testdata, for one platform, so that it is the same wherever it is built.
func size(t *testing.T, program, tags string) int64 {
	t.Helper()
	t.Setenv("GOOS", "linux")
	t.Setenv("GOARCH", "amd64")
	t.Setenv("CGO_ENABLED", "0")
	out := filepath.Join(t.TempDir(), program)
	goCommand(t, "build", "-trimpath", "-ldflags=-s -w", "-tags="+tags, "-o", out, "./testdata/"+program)
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
