package plugin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A logReader takes what a plugin writes, line by line, to the host's log. It survives lines of any shape
// and length, keeps pace with a flood by counting what it drops, and takes secrets out.
type logReader struct {
	log  hclog.Logger
	hide atomic.Pointer[func(string) string]
	line int // longest line
	rate int // lines in a second
	lost *atomic.Uint64

	mu     sync.Mutex
	second int64
	count  int
	missed uint64 // in this second
	tail   []string
	panics string // the first line of a panic
}

// tailLines is how many of the last lines an error can quote.
const tailLines = 5

func newLogReader(log hclog.Logger, l Limits, redact func(string) string, lost *atomic.Uint64) *logReader {
	r := &logReader{log: log, line: l.Line, rate: l.Lines, lost: lost}
	r.hide.Store(&redact)
	return r
}

// redact takes secrets out of text.
func (l *logReader) redact(s string) string { return (*l.hide.Load())(s) }

// setRedactor adds the secrets of another configuration; those of before stay hidden, for they may be in use
// yet.
func (l *logReader) setRedactor(secrets map[string]Secret) {
	before, more := *l.hide.Load(), redactor(secrets)
	both := func(s string) string { return more(before(s)) }
	l.hide.Store(&both)
}

// read takes standard error until it ends.
func (l *logReader) read(r io.Reader) { l.lines(r, l.structured) }

// readPlain takes standard output until it ends. Nothing belongs there.
func (l *logReader) readPlain(r io.Reader) { l.lines(r, l.printed) }

func (l *logReader) printed(s string) { l.log.Debug("plugin printed", "text", printable(s)) }

func (l *logReader) lines(r io.Reader, emit func(string)) {
	br := bufio.NewReaderSize(r, max(l.line, 16))
	for {
		b, err := br.ReadSlice('\n')
		text := strings.TrimRight(string(b), "\r\n")
		if err == bufio.ErrBufferFull {
			text += "…"
			for err == bufio.ErrBufferFull { // the rest of the line
				_, err = br.ReadSlice('\n')
			}
		}
		l.one(text, emit)
		if err != nil {
			return
		}
	}
}

func (l *logReader) one(text string, emit func(string)) {
	if text == "" {
		return
	}
	text = l.redact(text)
	if l.allow(text) {
		emit(text)
	}
}

// A lineWriter cuts chunks into lines.
type lineWriter struct {
	l    *logReader
	emit func(string)
	buf  []byte
	skip bool // the line was too long and has been emitted
}

func newLineWriter(l *logReader, emit func(string)) *lineWriter { return &lineWriter{l: l, emit: emit} }

func (w *lineWriter) write(b []byte) {
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		b = rest
		if !w.skip {
			w.buf = append(w.buf, line...)
		}
		if len(w.buf) > w.l.line {
			w.l.one(string(w.buf[:w.l.line])+"…", w.emit)
			w.buf, w.skip = w.buf[:0], true
		}
		if ended {
			w.l.one(strings.TrimRight(string(w.buf), "\r"), w.emit)
			w.buf, w.skip = w.buf[:0], false
		}
	}
}

// allow counts lines by the second.
func (l *logReader) allow(text string) bool {
	l.mu.Lock()
	now := time.Now().Unix()
	var missed uint64
	if now != l.second {
		missed, l.missed = l.missed, 0
		l.second, l.count = now, 0
	}
	l.count++
	ok := l.count <= l.rate
	if ok {
		if l.panics == "" && fatal(text) {
			l.panics = clean(text)
		}
	} else {
		l.missed++
		l.lost.Add(1)
	}
	l.mu.Unlock()
	if missed > 0 {
		l.log.Warn("the plugin logs too much; lines were dropped", "lines", missed)
	}
	return ok
}

// remember keeps a line for last.
func (l *logReader) remember(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tail = append(l.tail, clean(text)); len(l.tail) > tailLines {
		l.tail = slices.Delete(l.tail, 0, 1)
	}
}

// last returns the last lines, to say why a plugin did not start.
func (l *logReader) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.panics != "" {
		return l.panics
	}
	return strings.Join(l.tail, " / ")
}

// fatal reports whether a line is the first of what a Go process says as it dies; a stack follows, which
// says less.
func fatal(text string) bool {
	return strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")
}

// structured writes a line of hclog's JSON with its level and pairs, and any other as text.
func (l *logReader) structured(text string) {
	var entry map[string]any
	if text[0] != '{' || json.Unmarshal([]byte(text), &entry) != nil {
		l.plain(text)
		return
	}
	take := func(key string) string {
		s, _ := entry[key].(string)
		delete(entry, key)
		return printable(s)
	}
	level := hclog.LevelFromString(take("@level"))
	message, module, _ := take("@message"), take("@module"), take("@timestamp")
	if level == hclog.NoLevel || level == hclog.Off {
		level = hclog.Debug
	}
	if message == "" && len(entry) == 0 {
		l.plain(text)
		return
	}
	const most = 32
	var pairs []any
	if module != "" {
		pairs = append(pairs, "module", module)
	}
	for i, k := range slices.Sorted(maps.Keys(entry)) {
		if i == most {
			break
		}
		v, ok := entry[k].(string)
		if !ok {
			b, _ := json.Marshal(entry[k])
			v = string(b)
		}
		pairs = append(pairs, l.redact(clean(k)), l.redact(printable(v)))
	}
	if level >= hclog.Info {
		l.remember(l.redact(message) + pairText(pairs))
	}
	l.log.Log(level, l.redact(message), pairs...)
}

// plain gives a line of text the level that it begins with, if any.
func (l *logReader) plain(text string) {
	l.remember(text)
	level := hclog.Debug
	for prefix, v := range map[string]hclog.Level{
		"[TRACE]": hclog.Trace, "[DEBUG]": hclog.Debug, "[INFO]": hclog.Info, "[WARN]": hclog.Warn,
		"[ERROR]": hclog.Error,
	} {
		if strings.HasPrefix(text, prefix) {
			level = v
		}
	}
	if fatal(text) {
		level = hclog.Error
	}
	l.log.Log(level, "plugin wrote", "text", printable(text))
}

// pairText writes the pairs of a line of log as text.
func pairText(pairs []any) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, " %v=%v", pairs[i], pairs[i+1])
	}
	return b.String()
}
