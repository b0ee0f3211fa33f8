//go:build linux

package plugin_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk/plugin"
)

// Wherever a restart is when Close comes, Close ends it and waits for what belongs to it.
func TestCloseDuringARestartLeavesNothing(t *testing.T) {
	for _, mode := range []string{"exits", "hangs", "hangs-after", "hangs-in-info", "hangs-in-configure", "deaf"} {
		t.Run("the next process "+mode, func(t *testing.T) {
			marker := filepath.Join(t.TempDir(), "once")
			c, _ := material(t, config(t, "once", marker, mode))
			c.Limits.Stop = 300 * time.Millisecond
			nothingLeft(t, &c)
			p := open(t, c)
			set := must(must(p.Key()).SigningKeys(within(t)))
			kill(t, p.Status().PID, syscall.SIGKILL)
			eventually(t, "the next process has started", func() bool { _, err := os.Stat(marker + ".again"); return err == nil })
			signed, calls := make(chan error, 1), p.Status().Calls
			go func() {
				_, err := set.Active.Sign(within(t), []byte("x"))
				signed <- err
			}()
			eventually(t, "a signature is asked for", func() bool { return p.Status().Calls > calls })
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 45*time.Second {
				t.Errorf("Close took %v", took)
			}
			if err := <-signed; mode != "deaf" && !errors.Is(err, fault.ErrClosed) { // deaf serves, in its way
				t.Errorf("the signature that waited: %v, want ErrClosed", err)
			}
		})
	}
}

func TestCloseDuringReplaceLeavesNothing(t *testing.T) {
	for _, mode := range []string{"hangs", "hangs-after", "hangs-in-info", "hangs-in-configure"} {
		t.Run("the new version "+mode, func(t *testing.T) {
			c, _ := material(t, config(t, "good"))
			c.Limits.Stop = 300 * time.Millisecond
			nothingLeft(t, &c)
			p := open(t, c)
			next := c
			next.Args = []string{"plugin", mode}
			before := len(children(t))
			replaced := make(chan error, 1)
			go func() {
				_, err := p.Replace(within(t), next)
				replaced <- err
			}()
			eventually(t, "the new version has started", func() bool { return len(children(t)) > before })
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if err := <-replaced; err == nil {
				t.Error("a version was put in service after Close")
			}
		})
	}
}

func TestOpenWithAContextThatHasEndedLeavesNothing(t *testing.T) {
	c, _ := material(t, config(t, "good"))
	nothingLeft(t, &c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := plugin.Open(ctx, c); !errors.Is(err, ctx.Err()) {
		t.Errorf("Open: %v, want %v", err, ctx.Err())
	}
}
