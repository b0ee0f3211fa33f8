package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

func asIs(s string) string { return s }

func TestErrorsCrossTheSocketAndMeanTheSame(t *testing.T) {
	sentinels := []error{
		fault.ErrNotFound, fault.ErrUnavailable, fault.ErrPermission, fault.ErrExpired, fault.ErrConfig, fault.ErrMaterial,
		fault.ErrUnsupported, fault.ErrClosed, errStale,
	}
	for _, want := range sentinels {
		t.Run(want.Error(), func(t *testing.T) {
			sent := toStatus(fmt.Errorf("reading roots.pem: %w", want))
			for name, wire := range map[string]error{
				"with details":    sent,
				"without details": status.Error(status.Code(sent), "reading roots.pem"), // another language
			} {
				_, got := fromStatus(wire, asIs)
				for _, s := range sentinels {
					// A stale key is for the caller one that has ended.
					if errors.Is(got, s) != (s == want || want == errStale && s == fault.ErrExpired) {
						t.Errorf("%s: errors.Is(%q, %q) is %v", name, got, s, errors.Is(got, s))
					}
				}
				if !strings.Contains(got.Error(), "reading roots.pem") {
					t.Errorf("%s: %q lost its words", name, got)
				}
			}
		})
	}
}

func TestAnErrorWithoutASentinelMeansUnavailable(t *testing.T) {
	for name, wire := range map[string]error{
		"of a provider in Go":  toStatus(errors.New("something")),
		"of an odd code":       status.Error(codes.Internal, "something"),
		"of a code of nobody":  status.Error(codes.Code(77), "something"),
		"with nothing to say":  status.Error(codes.Unknown, ""),
		"of a deadline passed": toStatus(context.DeadlineExceeded),
	} {
		if _, got := fromStatus(wire, asIs); !errors.Is(got, fault.ErrUnavailable) || got.Error() == "" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheDetailsOfAnErrorCrossTheSocket(t *testing.T) {
	retry, got := fromStatus(toStatus(&fault.ProviderError{
		Role: fault.RoleTrust, Op: "pull", RetryAfter: 90 * time.Second, Err: fmt.Errorf("too fast: %w", fault.ErrUnavailable),
	}), asIs)
	if retry != 90*time.Second || got.Error() != "too fast: unavailable" {
		t.Errorf("%v, %q", retry, got)
	}
	for ms, want := range map[int64]time.Duration{1<<63 - 1: 24 * time.Hour, -1 << 63: 0} {
		st, err := status.New(codes.Unavailable, "x").WithDetails(&pluginpb.ErrorDetail{RetryAfterMs: ms})
		if err != nil {
			t.Fatal(err)
		}
		if retry, _ := fromStatus(st.Err(), asIs); retry != want {
			t.Errorf("to be left alone for %d ms: %v, want %v", ms, retry, want)
		}
	}
	_, got = fromStatus(toStatus(&fault.ConfigError{Field: "url", Err: errors.New("no scheme")}), asIs)
	if ce, ok := errors.AsType[*fault.ConfigError](got); !ok || ce.Field != "url" || !errors.Is(got, fault.ErrConfig) {
		t.Errorf("%v", got)
	}
}

func TestTextOfAPluginIsMadeFitForALog(t *testing.T) {
	_, got := fromStatus(status.Error(codes.NotFound, "a\nb\x1b[31m\x00"+strings.Repeat("long ", 1000)+"token-1234"), redactor(map[string]Secret{"t": "token-1234"}))
	if s := got.Error(); strings.ContainsAny(s, "\n\x1b\x00") || len(s) > 1100 || strings.Contains(s, "token-1234") {
		t.Errorf("%q", s)
	}
	if got := redactor(map[string]Secret{"t": "token-1234", "short": "ab"})("x token-1234 ab"); got != "x [secret] ab" {
		t.Errorf("%q", got)
	}
}
