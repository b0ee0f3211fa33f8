package sdk

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
)

// LevelTrace is the slog level of what hclog calls trace, below slog.LevelDebug.
const LevelTrace = slog.LevelDebug - 4

// FromSlog makes the logger that a Builder takes of a *slog.Logger; nil is silent. Names become the attribute
// "logger", with dots between the parts; keys and values become attributes; the source, where the handler adds
// it, is the caller. Which levels are logged is the handler's decision: SetLevel does nothing.
func FromSlog(l *slog.Logger) hclog.Logger {
	if l == nil {
		return hclog.NewNullLogger()
	}
	return &slogLogger{base: l.Handler(), handler: l.Handler()}
}

type slogLogger struct {
	base    slog.Handler // as given
	handler slog.Handler // base with name and implied
	name    string
	implied []any
}

var _ hclog.Logger = (*slogLogger)(nil)

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return LevelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default: // Info, and NoLevel, which means the default
		return slog.LevelInfo
	}
}

func (l *slogLogger) enabled(level hclog.Level) bool {
	return level != hclog.Off && l.handler.Enabled(context.Background(), slogLevel(level))
}

// emit is called by the methods of the interface only, so that the caller is two frames up.
func (l *slogLogger) emit(level hclog.Level, message string, args []any) {
	if !l.enabled(level) {
		return
	}
	var pc [1]uintptr
	runtime.Callers(3, pc[:])
	r := slog.NewRecord(time.Now(), slogLevel(level), message, pc[0])
	r.AddAttrs(attrs(args)...)
	_ = l.handler.Handle(context.Background(), r) // slog itself has no use for the error either
}

func (l *slogLogger) Log(level hclog.Level, msg string, args ...any) { l.emit(level, msg, args) }
func (l *slogLogger) Trace(msg string, args ...any)                  { l.emit(hclog.Trace, msg, args) }

func (l *slogLogger) Debug(msg string, args ...any) { l.emit(hclog.Debug, msg, args) }

func (l *slogLogger) Info(msg string, args ...any) { l.emit(hclog.Info, msg, args) }

func (l *slogLogger) Warn(msg string, args ...any) { l.emit(hclog.Warn, msg, args) }

func (l *slogLogger) Error(msg string, args ...any) { l.emit(hclog.Error, msg, args) }

func (l *slogLogger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *slogLogger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *slogLogger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *slogLogger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *slogLogger) IsError() bool { return l.enabled(hclog.Error) }

func (l *slogLogger) ImpliedArgs() []any { return slices.Clone(l.implied) }
func (l *slogLogger) Name() string       { return l.name }

// With replaces the value of a key that is implied already, as hclog does.
func (l *slogLogger) With(args ...any) hclog.Logger {
	implied := slices.Clone(l.implied)
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			implied = append(implied, hclog.MissingKey, args[i])
			break
		}
		at := -1
		for j := 0; j < len(implied); j += 2 {
			if fmt.Sprint(implied[j]) == fmt.Sprint(args[i]) {
				at = j
			}
		}
		if at >= 0 {
			implied[at+1] = args[i+1]
		} else {
			implied = append(implied, args[i], args[i+1])
		}
	}
	return l.derive(l.name, implied)
}

func (l *slogLogger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.derive(name, l.implied)
}

func (l *slogLogger) ResetNamed(name string) hclog.Logger { return l.derive(name, l.implied) }

func (l *slogLogger) derive(name string, implied []any) *slogLogger {
	d := &slogLogger{base: l.base, handler: l.base, name: name, implied: implied}
	var with []slog.Attr
	if name != "" {
		with = append(with, slog.String("logger", name))
	}
	if with = append(with, attrs(implied)...); len(with) > 0 {
		d.handler = l.base.WithAttrs(with)
	}
	return d
}

// SetLevel does nothing: the level is the handler's.
func (l *slogLogger) SetLevel(hclog.Level) {}

// GetLevel is the lowest level that the handler takes.
func (l *slogLogger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

func (l *slogLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

// StandardWriter lets hclog find the levels in the text.
func (l *slogLogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	if o == nil {
		o = &hclog.StandardLoggerOptions{}
	}
	tap := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	tap.RegisterSink(slogSink{l})
	return tap.StandardWriter(o)
}

type slogSink struct{ *slogLogger }

func (s slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	s.emit(level, msg, args)
}

// attrs reads alternating keys and values.
func attrs(args []any) []slog.Attr {
	var all []slog.Attr
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			// hclog's own way to end with an error or a stack trace
			return append(all, slog.Any(hclog.MissingKey, value(args[i])))
		}
		key, ok := args[i].(string)
		if !ok {
			key = fmt.Sprint(args[i])
		}
		all = append(all, slog.Any(key, value(args[i+1])))
	}
	return all
}

// value resolves the types by which hclog's callers ask for a format.
func value(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		format, ok := v[0].(string)
		if !ok {
			return fmt.Sprint(v...)
		}
		return fmt.Sprintf(format, v[1:]...)
	case hclog.Hex:
		return "0x" + strconv.FormatInt(int64(v), 16)
	case hclog.Octal:
		return "0" + strconv.FormatInt(int64(v), 8)
	case hclog.Binary:
		return "0b" + strconv.FormatInt(int64(v), 2)
	case hclog.Quote:
		return strconv.Quote(string(v))
	case hclog.CapturedStacktrace:
		return string(v)
	default:
		return v
	}
}
