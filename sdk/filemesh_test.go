package sdk_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A fileNode is a node whose material is in files, as an operator has them.
type fileNode struct {
	*node
	dir  string
	down atomic.Bool // the traffic spares it
}

// fileMesh starts nodes a, b, c, … that federate out of folders. A push counts once all nodes have it, so that every
// failure between any two shows.
func fileMesh(t *testing.T, ca *sdktest.CA, count int, prepare func(*fileNode), change func(*fileNode, *sdk.Builder)) []*fileNode {
	t.Helper()
	nodes := make([]*fileNode, count)
	for i := range nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n := &fileNode{node: &node{name: string(rune('a' + i)), listener: l, told: make(chan struct{}, 1)}, dir: t.TempDir()}
		n.put(t, "ca.pem", ca.PEM())
		n.enrol(t, ca)
		n.put(t, "node.ed25519", sdktest.KeyPEM(t, sdktest.Ed25519(t)))
		if prepare != nil {
			prepare(n)
		}
		nodes[i] = n
	}
	for _, n := range nodes {
		b := sdk.Builder{
			Trust:    &file.Trust{Path: n.path("ca.pem"), Settle: settle},
			Identity: &file.Identity{Cert: n.path("node.pem"), Key: n.path("node-key.pem"), Settle: settle},
			Key:      &file.Key{Path: n.path("node.ed25519"), Settle: settle},
			Quorum:   quorum.Policy{Writes: count, AckTimeout: 20 * time.Second}, // far beyond what a busy machine needs
			OnEvent:  n.onEvent,
		}
		b.Transport.ConnectTimeout = b.Quorum.AckTimeout
		for _, p := range nodes {
			if p != n {
				b.Peers = append(b.Peers, sdk.Peer{Name: p.name, URL: p.url(), ServerName: p.name + ".example"})
			}
		}
		if change != nil {
			change(n, &b)
		}
		fed, err := b.Build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n.fed = fed
		mux := http.NewServeMux()
		mux.Handle("/", fed.Handler(sdk.Inbound{Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) { return sdk.Applied, nil }}))
		mux.Handle("POST /anything", fed.Verify(echo))
		mux.Handle("GET /hang", fed.Verify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})))
		n.server = fed.Server(mux)
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = n.server.ServeTLS(n.listener, "", "")
		}()
		t.Cleanup(func() {
			n.server.Close()
			<-served
			if err := fed.Close(); err != nil {
				t.Errorf("close %s: %v", n.name, err)
			}
		})
	}
	return nodes
}

const settle = 20 * time.Millisecond

func (n *fileNode) path(name string) string { return filepath.Join(n.dir, name) }

// put replaces a file by renaming a finished one over it.
func (n *fileNode) put(t *testing.T, name string, data []byte) {
	t.Helper()
	next := n.path(name) + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, n.path(name)); err != nil {
		t.Fatal(err)
	}
}

func (n *fileNode) issue(t *testing.T, ca *sdktest.CA) *sdktest.Issued {
	t.Helper()
	return ca.Issue(t, sdktest.Leaf{DNS: []string{n.name + ".example"}})
}

// enrol puts a new certificate and key there, and returns the certificate's fingerprint.
func (n *fileNode) enrol(t *testing.T, ca *sdktest.CA) string {
	t.Helper()
	id := n.issue(t, ca)
	n.put(t, "node-key.pem", id.KeyPEM())
	n.put(t, "node.pem", id.CertPEM())
	return sdk.Fingerprint(id.Leaf)
}

// trust puts a bundle of these CAs there.
func (n *fileNode) trust(t *testing.T, cas ...*sdktest.CA) {
	t.Helper()
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, ca.PEM()...)
	}
	n.put(t, "ca.pem", bundle)
}

// until waits for a status.
func (n *fileNode) until(t *testing.T, what string, ok func(sdk.Status) bool) sdk.Status {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		s := n.fed.Status()
		if ok(s) {
			return s
		}
		select {
		case <-n.told:
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: never %s; status %+v", n.name, what, s)
		}
	}
}

// serves waits until the certificate of that fingerprint is in service.
func (n *fileNode) serves(t *testing.T, fingerprint string) {
	t.Helper()
	n.until(t, "serves the new certificate", func(s sdk.Status) bool {
		return s.Fingerprint == fingerprint && s.Identity.State == "fresh" && s.Generation == s.Identity.Generation
	})
}

// trusts waits until the trust is of that generation and well.
func (n *fileNode) trusts(t *testing.T, generation uint64) {
	t.Helper()
	n.until(t, fmt.Sprintf("trusts generation %d", generation), func(s sdk.Status) bool {
		return s.Trust.Generation == generation && s.Trust.State == "fresh"
	})
}

// A traffic is every node pushing, and asking every other, over and over.
type traffic struct {
	t     *testing.T
	nodes []*fileNode
	stop  context.CancelFunc
	wg    sync.WaitGroup
	turns []atomic.Int64 // of each node: rounds done

	mu       sync.Mutex
	failures []string
	failed   int
}

func startTraffic(t *testing.T, nodes []*fileNode) *traffic {
	tr := &traffic{t: t, nodes: nodes, turns: make([]atomic.Int64, len(nodes))}
	ctx, cancel := context.WithCancel(context.Background())
	tr.stop = cancel
	for i, n := range nodes {
		tr.wg.Go(func() {
			for ; ctx.Err() == nil; tr.turns[i].Add(1) {
				if n.down.Load() {
					continue
				}
				tr.turn(n)
				select { // so that a machine of two cores gets to the rest
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	t.Cleanup(tr.end)
	return tr
}

func (tr *traffic) turn(n *fileNode) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if result, err := n.fed.Push(ctx, sdk.Message{Body: []byte("a message of " + n.name)}); err != nil {
		tr.fail("%s pushes: %v", n.name, err)
	} else if result.Receipt == nil {
		tr.fail("%s pushes: no receipt: %s", n.name, result.Unproven)
	}
	for _, p := range tr.nodes {
		if p == n || p.down.Load() {
			continue
		}
		req, err := http.NewRequestWithContext(transport.WithOperation(ctx, rand.Text()), http.MethodPost, p.url()+"/anything", strings.NewReader("x"))
		if err != nil {
			tr.fail("%v", err)
			continue
		}
		resp, err := n.fed.Client().Do(req)
		if err != nil {
			tr.fail("%s asks %s: %v", n.name, p.name, err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.Header.Get("X-From") != n.name {
			tr.fail("%s asks %s: status %d, %v", n.name, p.name, resp.StatusCode, resp.Header)
		}
	}
}

func (tr *traffic) fail(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.failed++; len(tr.failures) < 5 {
		tr.failures = append(tr.failures, fmt.Sprintf(format, args...))
	}
}

// rounds waits until every node has begun and ended a number of rounds from now on.
func (tr *traffic) rounds(n int64) {
	tr.t.Helper()
	var want []int64
	for i := range tr.turns {
		want = append(want, tr.turns[i].Load()+n+1) // the one under way began before
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(tr.nodes, func(n *fileNode) bool {
			i := slices.Index(tr.nodes, n)
			return !n.down.Load() && tr.turns[i].Load() < want[i]
		}) {
			return
		}
		if time.Now().After(end) {
			tr.t.Fatalf("the traffic stands still")
		}
	}
}

// end stops the traffic and reports what failed.
func (tr *traffic) end() {
	tr.t.Helper()
	tr.stop()
	tr.wg.Wait()
	if tr.failed > 0 {
		tr.t.Errorf("%d requests failed, the first: %s", tr.failed, strings.Join(tr.failures, "; "))
		tr.failed = 0
	}
}
