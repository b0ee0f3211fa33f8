//go:build linux

package plugin_test

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

var killFor = flag.Duration("kill-for", 2*time.Second, "how long each part of TestRequestsGoOnWhileThePluginIsKilled lasts")

// A pair is two nodes: a has its identity from a plugin, b in the process and answers with what it is sent.
type pair struct {
	a      *sdk.Federation
	plugin *plugin.Plugin
	folder *movable
	url    string // of b
}

func newPair(t *testing.T) *pair {
	t.Helper()
	c, m, _ := movableConfig(t)
	nothingLeft(t, &c)
	c.Logger = nil
	p := open(t, c)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trust := sdk.TrustFunc(func(context.Context) (*sdk.TrustBundle, error) {
		return &sdk.TrustBundle{Roots: []*x509.Certificate{m.ca.Certificate}}, nil
	})
	of := m.ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}}).TLS
	node := func(id sdk.IdentityProvider, peer sdk.Peer) *sdk.Federation {
		fed, err := sdk.Builder{
			Trust: trust, Identity: id, Peers: []sdk.Peer{peer}, Quorum: quorum.Policy{Writes: quorum.Majority},
		}.Build(within(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = fed.Close() })
		return fed
	}
	b := node(sdk.IdentityFunc(func(context.Context) (*sdk.Identity, error) { return &sdk.Identity{Certificate: of}, nil }),
		sdk.Peer{Name: "a", URL: "https://127.0.0.1:1", ServerName: "a.example"})
	server := b.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	url := "https://" + listener.Addr().String()
	a := node(must(p.Identity()), sdk.Peer{Name: "b", URL: url, ServerName: "b.example"})
	if err := a.Warm(within(t)); err != nil {
		t.Fatal(err)
	}
	return &pair{a, p, m, url}
}

// send sends one request with an operation id, as a push does, and returns how long its answer took.
func (p *pair) send(operation string) (time.Duration, error) {
	began := time.Now()
	ctx := transport.WithOperation(context.Background(), operation)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader("hello"))
	if err != nil {
		return 0, err
	}
	resp, err := p.a.Client().Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return time.Since(began), err
}

// TestRequestsGoOnWhileThePluginIsKilled sends 200 requests a second between two nodes of which one has its
// identity from a plugin: in peace, with the plugin killed every second, and with a new certificate besides, whose
// key only the next process has. Beside the requests it measures the machine: how late a goroutine wakes that
// does nothing but sleep.
func TestRequestsGoOnWhileThePluginIsKilled(t *testing.T) {
	p := newPair(t)
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
			took, err := p.send(fmt.Sprintf("%s %d", name, n))
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
