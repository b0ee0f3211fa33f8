//go:build linux

package plugin_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/plugin"
)

var killFor = flag.Duration("kill-for", 2*time.Second, "how long each part of TestRequestsGoOnWhileThePluginIsKilled lasts")

// TestRequestsGoOnWhileThePluginIsKilled sends 200 requests a second between two nodes of which one has its
// identity from a plugin: in peace, with the plugin killed every second, and with a new certificate besides, whose
// key only the next process has. Beside the requests it measures the machine: how late a goroutine wakes that
// does nothing but sleep.
func TestRequestsGoOnWhileThePluginIsKilled(t *testing.T) {
	p := newPair(t, "yes", false)
	if err := p.a.Warm(within(t)); err != nil {
		t.Fatal(err)
	}
	kills := 0
	kill := func() {
		if pid := p.plugin.Status().PID; pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			kills++
		}
	}
	generation := func() uint64 { return p.a.Status().Generation }
	load(t, p, "first", time.Second/2, nil) // usual times become known
	load(t, p, "in peace", *killFor, nil)
	load(t, p, "killed every second", *killFor, kill)
	eventually(t, "a process serves", func() bool { return p.plugin.Status().State == plugin.Serving })
	if got := generation(); got != 1 {
		t.Errorf("the same certificate, pulled again, made generation %d of the connections", got)
	}
	load(t, p, "killed and renewed every second", *killFor, func() {
		p.folder.rotateIdentity(t)
		kill()
	})
	eventually(t, "the new certificate is used", func() bool { return generation() > 1 })
	s := p.plugin.Status()
	t.Logf("%d kills, %d restarts, generation %d of the connections", kills, s.Restarts, generation())
	if kills == 0 {
		t.Error("nothing was killed")
	}
}

// load sends requests for a while, with each called every second, and logs what they took.
func load(t *testing.T, p *pair, name string, length time.Duration, each func()) {
	t.Helper()
	before := p.a.Status().Peers[0].Transport
	ctx, cancel := context.WithCancel(context.Background())
	var late []time.Duration
	var sleeper sync.WaitGroup
	sleeper.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			time.Sleep(time.Millisecond)
			late = append(late, time.Since(began)-time.Millisecond)
		}
	})
	var mu sync.Mutex
	var wg sync.WaitGroup
	var times []time.Duration
	failed := 0
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(length)
	next := time.Now().Add(time.Second / 2)
	for n := 0; time.Now().Before(end); n++ {
		<-tick.C
		if each != nil && time.Now().After(next) {
			next = next.Add(time.Second)
			each()
		}
		wg.Go(func() {
			took, err := p.send(fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), n))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				t.Errorf("%s: request: %v", name, err)
				return
			}
			times = append(times, took)
		})
	}
	wg.Wait()
	cancel()
	sleeper.Wait()
	if len(times) == 0 {
		t.Fatalf("%s: no request succeeded", name)
	}
	after := p.a.Status().Peers[0].Transport
	slices.Sort(times)
	slices.Sort(late)
	t.Logf("%s: %d requests, %d failed; p50 %v, p99 %v, slowest %v; %d waited for a dial, %d sent again; a sleeper woke late by p99 %v, at most %v",
		name, len(times)+failed, failed, percentile(times, 50), percentile(times, 99), percentile(times, 100),
		after.Cold-before.Cold, after.Silences+after.Resent-before.Silences-before.Resent, percentile(late, 99), percentile(late, 100))
}

func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(10 * time.Microsecond)
}
