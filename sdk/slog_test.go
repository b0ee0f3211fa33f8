package sdk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/sdk"
)

// logged runs f with a logger over a JSON handler and returns the lines, without their times.
func logged(t *testing.T, level slog.Level, f func(hclog.Logger)) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	f(sdk.FromSlog(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))))
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		delete(m, "time")
		lines = append(lines, m)
	}
	return lines
}

func TestFromSlogWrites(t *testing.T) {
	type line = map[string]any
	for name, c := range map[string]struct {
		log  func(hclog.Logger)
		want line
	}{
		"trace":    {func(l hclog.Logger) { l.Trace("m") }, line{"level": "DEBUG-4", "msg": "m"}},
		"debug":    {func(l hclog.Logger) { l.Debug("m") }, line{"level": "DEBUG", "msg": "m"}},
		"info":     {func(l hclog.Logger) { l.Info("m") }, line{"level": "INFO", "msg": "m"}},
		"warn":     {func(l hclog.Logger) { l.Warn("m") }, line{"level": "WARN", "msg": "m"}},
		"error":    {func(l hclog.Logger) { l.Error("m") }, line{"level": "ERROR", "msg": "m"}},
		"Log":      {func(l hclog.Logger) { l.Log(hclog.Warn, "m", "k", 1) }, line{"level": "WARN", "msg": "m", "k": 1.0}},
		"no level": {func(l hclog.Logger) { l.Log(hclog.NoLevel, "m") }, line{"level": "INFO", "msg": "m"}},
		"values":   {func(l hclog.Logger) { l.Info("m", "s", "x", "n", 1, "err", errors.New("e")) }, line{"level": "INFO", "msg": "m", "s": "x", "n": 1.0, "err": "e"}},
		"odd":      {func(l hclog.Logger) { l.Info("m", "k", 1, "left") }, line{"level": "INFO", "msg": "m", "k": 1.0, "EXTRA_VALUE_AT_END": "left"}},
		"odd key":  {func(l hclog.Logger) { l.Info("m", 7, "v") }, line{"level": "INFO", "msg": "m", "7": "v"}},
		"formats": {func(l hclog.Logger) {
			l.Info("m", "f", hclog.Fmt("%d-%d", 1, 2), "h", hclog.Hex(255), "o", hclog.Octal(8), "b", hclog.Binary(5), "q", hclog.Quote("a b"))
		}, line{"level": "INFO", "msg": "m", "f": "1-2", "h": "0xff", "o": "010", "b": "0b101", "q": `"a b"`}},
		"named":     {func(l hclog.Logger) { l.Named("a").Named("b").Info("m") }, line{"level": "INFO", "msg": "m", "logger": "a.b"}},
		"renamed":   {func(l hclog.Logger) { l.Named("a").ResetNamed("b").Info("m") }, line{"level": "INFO", "msg": "m", "logger": "b"}},
		"unnamed":   {func(l hclog.Logger) { l.Named("a").ResetNamed("").Info("m") }, line{"level": "INFO", "msg": "m"}},
		"with":      {func(l hclog.Logger) { l.With("k", 1).Named("a").With("j", 2).Info("m", "i", 3) }, line{"level": "INFO", "msg": "m", "logger": "a", "k": 1.0, "j": 2.0, "i": 3.0}},
		"with anew": {func(l hclog.Logger) { l.With("k", 1).With("k", 2).Info("m") }, line{"level": "INFO", "msg": "m", "k": 2.0}},
		"with odd":  {func(l hclog.Logger) { l.With("k").Info("m") }, line{"level": "INFO", "msg": "m", "EXTRA_VALUE_AT_END": "k"}},
		"standard": {func(l hclog.Logger) {
			l.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}).Print("[WARN] m")
		}, line{"level": "WARN", "msg": "m"}},
		"forced": {func(l hclog.Logger) {
			l.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Error}).Print("m")
		}, line{"level": "ERROR", "msg": "m"}},
		"std, with": {func(l hclog.Logger) { l.Named("a").With("k", 1).StandardLogger(nil).Print("m") }, line{"level": "INFO", "msg": "m", "logger": "a", "k": 1.0}},
		"writer":    {func(l hclog.Logger) { _, _ = l.StandardWriter(nil).Write([]byte("m\n")) }, line{"level": "INFO", "msg": "m"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := logged(t, sdk.LevelTrace, c.log)
			if len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
				t.Errorf("logged %v, want one line %v", got, c.want)
			}
		})
	}
}

func TestFromSlogLeavesLevelsToTheHandler(t *testing.T) {
	for level, want := range map[slog.Level]hclog.Level{
		sdk.LevelTrace: hclog.Trace, slog.LevelDebug: hclog.Debug, slog.LevelInfo: hclog.Info,
		slog.LevelWarn: hclog.Warn, slog.LevelError: hclog.Error, slog.LevelError + 1: hclog.Off,
	} {
		lines := logged(t, level, func(l hclog.Logger) {
			l.SetLevel(hclog.Trace) // not ours to say
			if got := l.GetLevel(); got != want {
				t.Errorf("handler at %v: level is %v, want %v", level, got, want)
			}
			is := []bool{l.IsTrace(), l.IsDebug(), l.IsInfo(), l.IsWarn(), l.IsError()}
			for i, at := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
				if is[i] != (at >= want) {
					t.Errorf("handler at %v: logs %v is %v", level, at, is[i])
				}
				l.Log(at, "m")
			}
			l.Log(hclog.Off, "never")
		})
		if n := int(hclog.Error-want) + 1; len(lines) != max(n, 0) {
			t.Errorf("handler at %v: %d lines, want %d", level, len(lines), n)
		}
	}
}

func TestFromSlogNamesTheCaller(t *testing.T) {
	var out bytes.Buffer
	l := sdk.FromSlog(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{AddSource: true})))
	l.Info("m")
	l.Named("a").Log(hclog.Info, "m")
	if n := strings.Count(out.String(), "slog_test.go"); n != 2 {
		t.Errorf("%d of 2 lines name the caller:\n%s", n, out.String())
	}
}

func TestFromSlogTellsWhatItCarries(t *testing.T) {
	l := sdk.FromSlog(slog.New(slog.DiscardHandler)).Named("a").With("k", 1)
	if l.Name() != "a" || !reflect.DeepEqual(l.ImpliedArgs(), []any{"k", 1}) {
		t.Errorf("name %q and arguments %v, want a and [k 1]", l.Name(), l.ImpliedArgs())
	}
	l.ImpliedArgs()[1] = 2
	if !reflect.DeepEqual(l.ImpliedArgs(), []any{"k", 1}) {
		t.Error("the arguments that are handed out are not a copy")
	}
	if silent := sdk.FromSlog(nil); silent.IsError() {
		t.Error("the logger of nil is not silent")
	}
}

// A handler that is the slog.Logger's own gets what the logger carries.
func TestFromSlogKeepsTheLoggersOwnAttributes(t *testing.T) {
	var out bytes.Buffer
	l := sdk.FromSlog(slog.New(slog.NewTextHandler(&out, nil)).With("node", "a").WithGroup("federation"))
	l.With("k", 1).Info("m", "j", 2)
	for _, want := range []string{"node=a", "federation.k=1", "federation.j=2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}
