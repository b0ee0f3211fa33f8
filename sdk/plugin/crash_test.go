//go:build linux

package plugin_test

import (
	"context"
	"flag"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/plugin"
)

var crashCycles = flag.Int("crash-cycles", 10, "how often TestCrashCyclesLeaveNothing kills the plugin")

// footprint is what this process holds.
type footprint struct{ goroutines, files, kib int }

func measure(t testing.TB) footprint {
	t.Helper()
	runtime.GC()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return footprint{runtime.NumGoroutine(), len(fds), pages * os.Getpagesize() >> 10}
}

// TestCrashCyclesLeaveNothing kills the plugin again and again, and reports how long it takes until the next
// process serves, from the kill to the first answer.
func TestCrashCyclesLeaveNothing(t *testing.T) {
	c, _ := material(t, config(t, "good"))
	nothingLeft(t, &c)
	c.Logger = nil
	var started atomic.Uint64
	serving := make(chan struct{}, 1)
	c.OnEvent = func(e plugin.Event) {
		if e.Kind == plugin.EventStarted {
			started.Add(1)
			select {
			case serving <- struct{}{}:
			default:
			}
		}
	}
	// Each cycle is the first of its series in what it waits: at most 100 ms, as by default.
	c.Limits.MaxBackoff = 100 * time.Millisecond
	p := open(t, c)
	<-serving
	set := must(must(p.Key()).SigningKeys(within(t)))
	var took []time.Duration
	var before footprint
	warm := max(*crashCycles/10, 3)
	for i := range *crashCycles + warm {
		if i == warm {
			before = measure(t)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		began := time.Now()
		kill(t, p.Status().PID, syscall.SIGKILL)
		select {
		case <-serving:
		case <-ctx.Done():
			t.Fatalf("cycle %d: %+v", i, p.Status())
		}
		if _, err := set.Active.Sign(ctx, []byte("x")); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		took = append(took, time.Since(began))
		cancel()
	}
	eventually(t, "goroutines and descriptors are those of before", func() bool {
		now := measure(t)
		return now.goroutines <= before.goroutines+2 && now.files <= before.files+2
	})
	after := measure(t)
	if grown := after.kib - before.kib; grown > 32<<10 {
		t.Errorf("memory grew by %d KiB over %d cycles", grown, *crashCycles)
	}
	slices.Sort(took)
	t.Logf("%d cycles: before %+v, after %+v; crash to serving p50 %v, p99 %v, max %v",
		*crashCycles, before, after, percentile(took, 50), percentile(took, 99), took[len(took)-1])
}
