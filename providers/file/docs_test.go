package file

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The messages that docs/files.md explains are those that the package has, with the sentinel that it says.
func TestDocsQuoteMessagesThatExist(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "files.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `(Err\\w+)` \\|").FindAllStringSubmatch(string(doc), -1)
	if len(rows) < 20 {
		t.Fatalf("%d messages found in the table, want 20 or more", len(rows))
	}
	for _, row := range rows {
		message, sentinel := row[1], row[2]
		if !strings.Contains(code.String(), message) {
			t.Errorf("no message of the package says %q", message)
			continue
		}
		for line := range strings.Lines(code.String()) {
			if strings.Contains(line, message) && strings.Contains(line, "bad(sdk.Err") && !strings.Contains(line, "bad(sdk."+sentinel) {
				t.Errorf("%q does not come with %s, but: %s", message, sentinel, strings.TrimSpace(line))
			}
		}
	}
}
