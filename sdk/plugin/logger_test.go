package plugin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

// logs is a plugin that logs with the context of every call.
func logs(ctx context.Context, _ plugin.Settings) (plugin.Providers, error) {
	plugin.Logger(ctx).Warn("in Configure")
	return plugin.Providers{Trust: loggingTrust{}}, nil
}

type loggingTrust struct{}

func (loggingTrust) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	plugin.Logger(ctx).Warn("in TrustBundle")
	return nil, fmt.Errorf("%w: no roots here", fault.ErrNotFound)
}

func (loggingTrust) Watch(ctx context.Context, _ func()) error {
	plugin.Logger(ctx).Warn("in Watch")
	return fault.ErrUnsupported
}

func TestAProviderLogsWithTheContextOfItsCall(t *testing.T) {
	c := config(t, "logs")
	lines := make(chan string, 100)
	c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: writerFunc(func(b []byte) (int, error) {
		lines <- string(b)
		return len(b), nil
	})})
	p := open(t, c)
	trust := must(p.Trust())
	_, _ = trust.TrustBundle(within(t))
	_ = trust.(sdk.Watcher).Watch(within(t), func() {})
	for _, what := range []string{"in Configure", "in TrustBundle", "in Watch"} {
		select {
		case line := <-lines:
			if !strings.Contains(line, "[WARN]") || !strings.Contains(line, what) {
				t.Errorf("the host's log has %q, want a warning %q", line, what)
			}
		case <-within(t).Done():
			t.Fatalf("never logged: %s", what)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
