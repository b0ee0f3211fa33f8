package doccheck

import (
	"go/format"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// files calls visit with every file of the module that ends so, by its slash-separated path from the root.
func files(t *testing.T, suffix string, visit func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == ".git" || e.Name() == "bin" || e.Name() == "node_modules" || e.Name() == "target") {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(p, suffix) {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(rel), string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func documents(t *testing.T) map[string]document {
	t.Helper()
	docs := map[string]document{}
	files(t, ".md", func(name, text string) { docs[name] = parse(text) })
	if len(docs) == 0 {
		t.Fatal("no Markdown file found")
	}
	return docs
}

func TestLinksLeadSomewhere(t *testing.T) {
	docs := documents(t)
	for name, d := range docs {
		for _, l := range d.links {
			u, err := url.Parse(l.target)
			if err != nil {
				t.Errorf("%s:%d: %q: %v", name, l.line, l.target, err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			target := name
			if u.Path != "" {
				target = path.Join(path.Dir(name), u.Path)
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(target))); err != nil || strings.HasPrefix(target, "../") {
				t.Errorf("%s:%d: %s is not there", name, l.line, l.target)
				continue
			}
			if to, ok := docs[target]; ok && u.Fragment != "" && !to.anchors[u.Fragment] {
				t.Errorf("%s:%d: %s has no heading for #%s", name, l.line, target, u.Fragment)
			}
		}
	}
}

func TestGoCodeParsesAndProgramsCompile(t *testing.T) {
	for name, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language != "go" {
				continue
			}
			if _, err := format.Source([]byte(b.code)); err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
				continue
			}
			if !strings.HasPrefix(b.code, "package main") && !strings.Contains(b.code, "\npackage main\n") {
				continue
			}
			if testing.Short() {
				continue
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "main.go")
			if err := os.WriteFile(file, []byte(b.code), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "vet", file)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s", name, b.line, err, out)
			}
		}
	}
}

var (
	makeCommand = regexp.MustCompile(`^(?:\w+=\S+ )*make ((?:[a-z-]+ ?)+)`)
	goCommand   = regexp.MustCompile(`^(?:\w+=\S+ )*(?:sudo )?go (?:run|test|build|vet) .*`)
	argument    = regexp.MustCompile(`'([^']*)'|(\S+)`)
)

func TestCommandsNameWhatExists(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	functions := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz|Example)\w*)\(`)
	files(t, "_test.go", func(_, text string) {
		for _, m := range functions.FindAllStringSubmatch(text, -1) {
			tests = append(tests, m[1])
		}
	})
	for name, d := range documents(t) {
		for _, c := range d.commands {
			if m := makeCommand.FindStringSubmatch(c.text); m != nil {
				for target := range strings.FieldsSeq(m[1]) {
					if !regexp.MustCompile(`(?m)^` + target + `:`).Match(makefile) {
						t.Errorf("%s:%d: the Makefile has no target %s", name, c.line, target)
					}
				}
			}
			if goCommand.MatchString(c.text) {
				for _, fault := range wrongIn(c.text, tests) {
					t.Errorf("%s:%d: %s: %s", name, c.line, c.text, fault)
				}
			}
		}
	}
}

// wrongIn returns what a go command names that does not exist.
func wrongIn(text string, tests []string) (faults []string) {
	var args []string
	for _, m := range argument.FindAllStringSubmatch(text, -1) {
		args = append(args, m[1]+m[2])
	}
	for i, arg := range args {
		flag, value, ok := strings.Cut(arg, "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		if !strings.Contains(text, "go test ") { // a program's own flag
			flag = ""
		}
		switch flag {
		case "-run", "-bench", "-fuzz":
			if strings.HasPrefix(text, "go run ") {
				continue // the program's own flags
			}
			pattern, _, _ := strings.Cut(value, "/")
			re, err := regexp.Compile(strings.Trim(pattern, `"`))
			if value == "^$" || value == "xxx" || value == "-" {
				continue
			}
			if err != nil || !slices.ContainsFunc(tests, re.MatchString) {
				faults = append(faults, "no function matches "+value)
			}
		}
		if strings.HasPrefix(arg, "./") {
			dir, _ := strings.CutSuffix(arg, "...")
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(dir))); err != nil {
				faults = append(faults, "no package "+arg)
			}
		}
	}
	return faults
}

func TestWrongCommandsAreFound(t *testing.T) {
	tests := []string{"BenchmarkPush", "TestPush"}
	for text, want := range map[string]int{
		"go test -run '^$' -bench 'Push/N=3' ./internal/doccheck": 0,
		"go test -bench=Pull ./internal/...":                      1,
		"go run ./examples/nothing-of-the-kind":                   1,
		"go test -run TestPush ./nowhere":                         1,
		"go run ./internal/doccheck -run anything":                0,
	} {
		if got := wrongIn(text, tests); len(got) != want {
			t.Errorf("%s: %q, want %d faults", text, got, want)
		}
	}
}
