//go:build linux

package plugin_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

var (
	crashCycles = flag.Int("crash-cycles", 10, "how often TestCrashCyclesLeaveNothing kills the plugin")
	killFor     = flag.Duration("kill-for", 3*time.Second, "how long TestRequestsGoOnWhileThePluginIsKilled kills the plugin every second")
)

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
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
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

func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(10 * time.Microsecond)
}

// TestRequestsGoOnWhileThePluginIsKilled sends 200 requests a second over mutual TLS with the plugin's
// identity, at first in peace, then with the plugin killed every second. Pulls go on as sdk would make them.
func TestRequestsGoOnWhileThePluginIsKilled(t *testing.T) {
	ca := sdktest.NewCA(t)
	id := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{*ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}}).TLS},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13,
	}
	server.StartTLS()
	defer server.Close()

	c := config(t, "good")
	nothingLeft(t, &c)
	c.Logger = nil
	c.Secrets = map[string]plugin.Secret{"identity": plugin.Secret(append(id.CertPEM(), id.KeyPEM()...))}
	p := open(t, c)
	provider := must(p.Identity())
	var current atomic.Pointer[sdk.Identity]
	current.Store(must(provider.Identity(within(t))))
	transport := &http.Transport{
		MaxIdleConnsPerHost: 16,
		TLSClientConfig: &tls.Config{
			RootCAs: pool, ServerName: "b.example", MinVersion: tls.VersionTLS13,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return current.Load().Certificate, nil
			},
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	phase := func(kills bool) (times []time.Duration, failed int, killed int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		end := time.Now().Add(*killFor)
		next := time.Now().Add(time.Second / 2)
		for time.Now().Before(end) {
			<-tick.C
			if kills && time.Now().After(next) {
				next = next.Add(time.Second)
				if pid := p.Status().PID; pid != 0 {
					kill(t, pid, syscall.SIGKILL)
					killed++
				}
				wg.Go(func() {
					fresh, err := provider.Identity(context.Background())
					if err != nil {
						t.Errorf("pull: %v", err)
						return
					}
					current.Store(fresh)
				})
			}
			wg.Go(func() {
				began := time.Now()
				resp, err := client.Post(server.URL, "text/plain", strings.NewReader("hello"))
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				took := time.Since(began)
				mu.Lock()
				defer mu.Unlock()
				times = append(times, took)
				if err != nil {
					failed++
					t.Errorf("request: %v", err)
				}
			})
		}
		wg.Wait()
		slices.Sort(times)
		return times, failed, killed
	}
	show := func(name string, times []time.Duration, failed, killed int) string {
		return fmt.Sprintf("%s: %d requests, %d failed, %d kills; p50 %v, p99 %v, max %v",
			name, len(times), failed, killed, percentile(times, 50), percentile(times, 99), times[len(times)-1].Round(10*time.Microsecond))
	}
	_, _, _ = phase(false) // connections open
	calm, failed, _ := phase(false)
	t.Log(show("in peace", calm, failed, 0))
	stormy, failed, killed := phase(true)
	t.Log(show("killed every second", stormy, failed, killed))
	if killed == 0 {
		t.Error("nothing was killed")
	}
}
