package deptest

import (
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
	module,
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

// most is how much a stripped program may grow by sdk and providers/file over one that uses net/http. A good
// third of it is not ours to save: the logger's package links regexp, the ai-memory wire encoding/json, international
// host names the tables of x/net/idna, OpenSSH keys x/crypto/ssh.
const most = 9 << 18

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
		if p.Standard || p.Module == nil {
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
	t.Logf("%d packages beyond the standard library, of %d modules: %s", beyond, len(modules), strings.Join(modules, " "))
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
	size := func(program string) int64 {
		out := filepath.Join(t.TempDir(), program)
		goCommand(t, "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/"+program)
		info, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	bare, whole := size("bare"), size("whole")
	t.Logf("net/http client %d bytes, with sdk and providers/file %d: %d more", bare, whole, whole-bare)
	if whole-bare > most {
		t.Errorf("a program grows by %d bytes, over %d", whole-bare, most)
	}
}
