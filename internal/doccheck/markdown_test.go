package doccheck

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// A document is what the checks read of a Markdown file.
type document struct {
	links    []link
	anchors  map[string]bool
	blocks   []block
	commands []command // lines of shell blocks, and code spans
}

type link struct {
	line   int
	target string
}

type block struct {
	line     int // of its first line of code
	language string
	code     string
}

type command struct {
	line int
	text string
}

var (
	heading    = regexp.MustCompile(`^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$`)
	inlineLink = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)`)
	definition = regexp.MustCompile(`^ {0,3}\[[^\]]+\]:\s+<?([^\s>]+)>?`)
	span       = regexp.MustCompile("`+[^`]+`+")
	htmlAnchor = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	fence      = regexp.MustCompile("^ {0,3}(```+|~~~+)\\s*([A-Za-z0-9_+-]*)")
)

// parse reads the parts of Markdown that this project uses: ATX headings, fenced code, inline and reference
// links.
func parse(text string) document {
	d := document{anchors: map[string]bool{}}
	var open string // the fence of the block that the line is in
	var b block
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		line = strings.TrimSuffix(line, "\r")
		if m := fence.FindStringSubmatch(line); m != nil && (open == "" || strings.HasPrefix(m[1], open) && m[2] == "") {
			if open == "" {
				open, b = m[1], block{line: n + 1, language: strings.ToLower(m[2])}
			} else {
				d.blocks = append(d.blocks, b)
				open = ""
			}
			continue
		}
		if open != "" {
			b.code += line + "\n"
			switch b.language {
			case "", "sh", "bash", "shell", "console", "text":
				d.commands = append(d.commands, command{n, strings.TrimPrefix(strings.TrimSpace(line), "$ ")})
			}
			continue
		}
		if strings.HasPrefix(line, "    ") {
			d.commands = append(d.commands, command{n, strings.TrimSpace(line)})
		}
		for _, s := range span.FindAllString(line, -1) {
			d.commands = append(d.commands, command{n, strings.Trim(s, "` ")})
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			d.addAnchor(slug(m[1]))
		}
		for _, m := range htmlAnchor.FindAllStringSubmatch(line, -1) {
			d.anchors[m[1]] = true
		}
		plain := span.ReplaceAllString(line, "``")
		for _, m := range inlineLink.FindAllStringSubmatch(plain, -1) {
			d.links = append(d.links, link{n, m[1]})
		}
		if m := definition.FindStringSubmatch(plain); m != nil {
			d.links = append(d.links, link{n, m[1]})
		}
	}
	return d
}

// addAnchor numbers headings that are the same, as the usual renderers do.
func (d *document) addAnchor(s string) {
	unique := s
	for i := 1; d.anchors[unique]; i++ {
		unique = s + "-" + string(rune('0'+i))
	}
	d.anchors[unique] = true
}

// slug is the anchor of a heading: lower case, without punctuation, spaces to hyphens.
func slug(title string) string {
	title = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(title, "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

func TestParseFindsLinksAnchorsAndCommands(t *testing.T) {
	d := parse("# The `Push` call, W of N\n\nSee [a](b.md#c \"title\") and ![i](<i.png>), not `[x](y)`; run `make test`.\n\n" +
		"[ref]: ../LICENSE\n\n## Same\n## Same\n\n```go\npackage main // [no](no.md)\n```\n\n```sh\n$ go test ./sdk\n```\n")
	var targets []string
	for _, l := range d.links {
		targets = append(targets, l.target)
	}
	if got, want := strings.Join(targets, " "), "b.md#c i.png ../LICENSE"; got != want {
		t.Errorf("links %q, want %q", got, want)
	}
	for _, a := range []string{"the-push-call-w-of-n", "same", "same-1"} {
		if !d.anchors[a] {
			t.Errorf("no anchor %q in %v", a, d.anchors)
		}
	}
	if len(d.blocks) != 2 || d.blocks[0].language != "go" || d.blocks[0].line != 11 {
		t.Errorf("blocks %+v", d.blocks)
	}
	found := map[string]bool{}
	for _, c := range d.commands {
		found[c.text] = true
	}
	if !found["make test"] || !found["go test ./sdk"] {
		t.Errorf("commands %+v", d.commands)
	}
}
