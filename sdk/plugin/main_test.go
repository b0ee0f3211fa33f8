package plugin_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/sdk/plugin"
)

// The test binary is the plugin, too: started with "plugin" and a mode, it serves as the mode says.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "plugin" {
		serveMode(os.Args[2], os.Args[3:])
		return
	}
	goleak.VerifyTestMain(m)
}

// self is the path and the digest of the test binary.
var self = sync.OnceValues(func() (string, string) {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		panic(err)
	}
	return path, hex.EncodeToString(h.Sum(nil))
})

// config is a plugin.Config that starts the test binary in a mode.
func config(t testing.TB, mode string, args ...string) plugin.Config {
	t.Helper()
	path, digest := self()
	return plugin.Config{
		Path:   path,
		SHA256: digest,
		Args:   append([]string{"plugin", mode}, args...),
		Logger: testLogger(t),
		// A machine with much to do takes its time.
		Limits: plugin.Limits{Start: time.Minute, Sign: time.Minute},
	}
}

// testLogger writes to the test's log until the test ends.
func testLogger(t testing.TB) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &testWriter{t: t}, DisableTime: true})
}

type testWriter struct {
	t    testing.TB
	mu   sync.Mutex
	done bool
	once sync.Once
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.once.Do(func() {
		w.t.Cleanup(func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.done = true
		})
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.t.Logf("%s", b)
	}
	return len(b), nil
}

// open opens a plugin and closes it when the test ends.
func open(t testing.TB, c plugin.Config) *plugin.Plugin {
	t.Helper()
	p, err := plugin.Open(within(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// within is a context that ends long after the test should have.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
