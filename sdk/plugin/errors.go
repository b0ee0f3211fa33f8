package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// errStale is the author's side of ABORTED: the key that a request names is not there any more. For the caller it is
// ErrExpired, which makes a Federation pull at once.
var errStale = errors.New("the key is no longer there; pull again")

// meanings is the table of plugin.proto's ErrorCode. Each row has a gRPC code of its own.
var meanings = []struct {
	is   error
	code pluginpb.ErrorCode
	grpc codes.Code
}{
	{errStale, pluginpb.ErrorCode_ERROR_CODE_STALE_KEY, codes.Aborted},
	{fault.ErrConfig, pluginpb.ErrorCode_ERROR_CODE_CONFIG, codes.InvalidArgument},
	{fault.ErrNotFound, pluginpb.ErrorCode_ERROR_CODE_NOT_FOUND, codes.NotFound},
	{fault.ErrPermission, pluginpb.ErrorCode_ERROR_CODE_PERMISSION, codes.PermissionDenied},
	{fault.ErrExpired, pluginpb.ErrorCode_ERROR_CODE_EXPIRED, codes.FailedPrecondition},
	{fault.ErrMaterial, pluginpb.ErrorCode_ERROR_CODE_MATERIAL, codes.DataLoss},
	{fault.ErrUnsupported, pluginpb.ErrorCode_ERROR_CODE_UNSUPPORTED, codes.Unimplemented},
	{fault.ErrClosed, pluginpb.ErrorCode_ERROR_CODE_CLOSED, codes.Canceled},
	{fault.ErrUnavailable, pluginpb.ErrorCode_ERROR_CODE_UNAVAILABLE, codes.Unavailable},
}

// toStatus makes a gRPC status of a provider's error: the author's side.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return s.GRPCStatus().Err()
	}
	code, detail := codes.Unavailable, &pluginpb.ErrorDetail{Code: pluginpb.ErrorCode_ERROR_CODE_UNAVAILABLE}
	for _, m := range meanings {
		if errors.Is(err, m.is) {
			code, detail.Code = m.grpc, m.code
			break
		}
	}
	text := err.Error()
	if pe, ok := errors.AsType[*fault.ProviderError](err); ok {
		detail.RetryAfterMs = pe.RetryAfter.Milliseconds()
		if e, ok := err.(*fault.ProviderError); ok && e.Err != nil {
			text = e.Err.Error() // the host says again whose it is
		}
	}
	if ce, ok := errors.AsType[*fault.ConfigError](err); ok {
		detail.Field = ce.Field
	}
	st := status.New(code, clean(text))
	if with, err := st.WithDetails(detail); err == nil {
		st = with
	}
	return st.Err()
}

// A remoteError is what a plugin said, under the sentinel that it stands for.
type remoteError struct {
	text  string
	is    error
	cause error // a ConfigError with the plugin's field, or nil
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() []error {
	if e.cause != nil {
		return []error{e.is, e.cause}
	}
	return []error{e.is}
}

// fromStatus makes one of the module's errors of what came over the wire, and says how long the backend
// wishes to be left alone. Text from the plugin is bounded and free of control characters and secrets.
func fromStatus(err error, redact func(string) string) (time.Duration, error) {
	if err == nil {
		return 0, nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return 0, err
	}
	text := clean(redact(st.Message()))
	switch {
	case st.Code() == codes.ResourceExhausted && strings.Contains(text, "received message larger than max"):
		return 0, &remoteError{text: "the answer is too large: " + text, is: fault.ErrMaterial}
	case st.Code() == codes.ResourceExhausted && strings.Contains(text, "trying to send message larger than max"):
		return 0, &remoteError{text: "the request is too large for Limits.Message: " + text, is: fault.ErrConfig}
	case st.Code() == codes.DeadlineExceeded:
		return 0, &remoteError{text: "no answer in time: " + text, is: fault.ErrUnavailable, cause: context.DeadlineExceeded}
	}
	out := &remoteError{text: text, is: fault.ErrUnavailable}
	for _, m := range meanings {
		if st.Code() == m.grpc {
			out.is = m.is
		}
	}
	if st.Code() == codes.Unauthenticated {
		out.is = fault.ErrPermission
	}
	var retry time.Duration
	if d := detailOf(st); d != nil {
		for _, m := range meanings {
			if d.Code == m.code {
				out.is = m.is
			}
		}
		retry = min(fromMillis(d.RetryAfterMs), 24*time.Hour)
		if d.Field != "" && errors.Is(out.is, fault.ErrConfig) {
			out.cause = &fault.ConfigError{Field: clean(redact(d.Field)), Err: errors.New(text)}
		}
	}
	if errors.Is(out.is, errStale) {
		out.cause = fault.ErrExpired
	}
	if out.text == "" {
		out.text = out.is.Error()
	}
	return retry, out
}

func detailOf(st *status.Status) *pluginpb.ErrorDetail {
	for _, d := range st.Details() {
		if e, ok := d.(*pluginpb.ErrorDetail); ok {
			return e
		}
	}
	return nil
}

// clean makes text from outside fit for an error or a log: one line, printable, at most 1 KiB.
func clean(s string) string {
	const most = 1024
	if len(s) > most {
		s = s[:most] + "…"
	}
	return printable(s)
}

// printable makes one line of printable characters of s.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar:
			return '?'
		case unicode.IsPrint(r):
			return r
		default:
			return ' '
		}
	}, s)
}

// redactor replaces secrets in text that a plugin wrote. Secrets shorter than 4 characters would make
// every text unreadable and are left.
func redactor(secrets map[string]Secret) func(string) string {
	var pairs []string
	for _, s := range secrets {
		if len(s) < 4 {
			continue
		}
		pairs = append(pairs, string(s), hidden)
		if quoted, err := json.Marshal(string(s)); err == nil { // as it stands in a log of JSON
			if inner := string(quoted[1 : len(quoted)-1]); inner != string(s) {
				pairs = append(pairs, inner, hidden)
			}
		}
		// A secret of several lines appears line by line in a log.
		for line := range strings.Lines(string(s)) {
			if line = strings.TrimSpace(line); len(line) >= 16 && line != string(s) {
				pairs = append(pairs, line, hidden)
			}
		}
	}
	if len(pairs) == 0 {
		return func(s string) string { return s }
	}
	return strings.NewReplacer(pairs...).Replace
}
