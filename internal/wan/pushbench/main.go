// Command pushbench measures pushes and replay over an emulated wide-area network: docs/benchmarks-push.md reads it.
// It needs Linux and root.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/wan"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/outbox/bolt"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

var only = flag.Bool("replay", false, "measure replay alone")

var pushes = flag.Int("n", 60, "pushes of each kind")

func main() {
	log.SetFlags(0)
	flag.Parse()
	replay(40 * time.Millisecond)
	if *only {
		return
	}
	fmt.Println("Push of 1 KB, W a majority, one peer blackholed: median and 90th percentile of Push / RTT, and median of")
	fmt.Println("Push / measured RTT of the peer whose ack decides; the same with bolt")
	for _, rtt := range []time.Duration{40 * time.Millisecond, 230 * time.Millisecond} {
		for _, n := range []int{3, 5, 9} {
			memory, durable := measure(rtt, n, false), measure(rtt, n, true)
			fmt.Printf("rtt=%v N=%d median=%.3f p90=%.3f measured-rtt=%.3f median/measured=%.3f bolt=%.3f (%+.1f ms)\n", rtt, n,
				ratio(memory.median, rtt), ratio(memory.p90, rtt), ratio(memory.decides, rtt), ratio(memory.median, memory.decides),
				ratio(durable.median, rtt), (durable.median-memory.median).Seconds()*1e3)
		}
	}
}

func ratio(d, rtt time.Duration) float64 { return float64(d) / float64(rtt) }

// tb lets sdktest be used outside a test.
type tb struct{ cleanups []func() }

func (*tb) Helper()                   {}
func (*tb) Fatalf(f string, a ...any) { log.Fatalf(f, a...) }
func (t *tb) Cleanup(f func())        { t.cleanups = append(t.cleanups, f) }
func (t *tb) done() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// build makes a mesh of n nodes, each on a host of its own. With dead the last peer of node 0 is nowhere.
func build(t *tb, rtt time.Duration, n int, dead bool, change func(b *sdk.Builder)) (*sdktest.MeshNetwork, *wan.Host) {
	network, err := wan.New(rtt/2, n)
	if err != nil {
		log.Fatal(err)
	}
	t.Cleanup(func() { _ = network.Close() })
	mesh := sdktest.Mesh(t, n, sdktest.MeshOptions{
		Listen: func(i int) (net.Listener, error) { return network.Host(i).Listen(8443) },
		Inbound: func(int) sdk.Inbound {
			return sdk.Inbound{Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) { return sdk.Applied, nil }}
		},
		Configure: func(i int, b *sdk.Builder) {
			b.Transport.Dial = network.Host(i).Dial
			if i == 0 {
				if dead {
					b.Peers[n-2].URL = "https://" + lost(b.Peers[n-2].URL)
				}
				change(b)
			}
		},
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = mesh.Nodes[0].Warm(ctx) // the peer that is nowhere fails
	return mesh, network.Host(0)
}

// lost is a host of the same network that does not exist.
func lost(url string) string {
	host, port, err := net.SplitHostPort(url[len("https://"):])
	if err != nil {
		log.Fatal(err)
	}
	ip := net.ParseIP(host).To4()
	ip[3] ^= 0x40
	return net.JoinHostPort(ip.String(), port)
}

// times are those of one mesh.
type times struct {
	median, p90 time.Duration // of pushes
	decides     time.Duration // median round trip to the peer whose ack decides, when all are asked at once
}

func measure(rtt time.Duration, n int, durable bool) times {
	t := &tb{}
	defer t.done()
	mesh, host := build(t, rtt, n, true, func(b *sdk.Builder) {
		b.Quorum.AckTimeout = 10 * time.Second
		if durable {
			b.Outbox = openBolt(t)
		}
	})
	ask := asker(mesh.Nodes[0].Federation, host, n-2)
	body := bytes.Repeat([]byte("x"), 1024)
	var pushed, asked []time.Duration
	for i := range *pushes + 5 {
		start := time.Now()
		result, err := mesh.Nodes[0].Push(context.Background(), sdk.Message{Body: body})
		if err != nil {
			log.Fatal(err)
		}
		took, wait := time.Since(start), ask(result.W-1)
		if i >= 5 { // the first ones open connections
			pushed, asked = append(pushed, took), append(asked, wait)
		}
	}
	return times{median: at(pushed, 0.5), p90: at(pushed, 0.9), decides: at(asked, 0.5)}
}

// asker makes a function that sends an unsigned request of 1 KB to each of the first peers, at once, by net/http over the
// same mutual TLS, and returns the time until the k-th has refused it, which takes no signature either.
func asker(fed *sdk.Federation, host *wan.Host, live int) func(k int) time.Duration {
	var clients []*http.Client
	var urls []string
	for _, p := range fed.Peers()[:live] {
		urls = append(urls, p.PushURL())
		clients = append(clients, &http.Client{Transport: &http.Transport{
			DialContext: host.Dial, TLSClientConfig: fed.ClientTLS(p.Name),
		}})
	}
	body := bytes.Repeat([]byte("x"), 1024)
	return func(k int) time.Duration {
		start := time.Now()
		answers := make(chan time.Duration, len(urls))
		for i, url := range urls {
			go func() {
				resp, err := clients[i].Post(url, sdk.DefaultContentType, bytes.NewReader(body))
				if err != nil {
					log.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body) // or the connection is not used again
				resp.Body.Close()
				if resp.StatusCode/100 == 2 {
					log.Fatal(resp.Status)
				}
				answers <- time.Since(start)
			}()
		}
		var kth time.Duration
		for i := range urls {
			if d := <-answers; i < k {
				kth = d
			}
		}
		return kth
	}
}

func openBolt(t *tb) *bolt.Store {
	dir, err := os.MkdirTemp("", "pushbench")
	if err != nil {
		log.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	store, err := bolt.Open(filepath.Join(dir, "outbox.db"), bolt.Options{})
	if err != nil {
		log.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// replay measures how fast a backlog drains once its peer is back.
func replay(rtt time.Duration) {
	const backlog = 5000
	t := &tb{}
	defer t.done()
	mesh, _ := build(t, rtt, 2, false, func(b *sdk.Builder) { b.Quorum.Writes = 1 })
	mesh.Nodes[1].Stop()
	body := bytes.Repeat([]byte("x"), 1024)
	for range backlog {
		if _, err := mesh.Nodes[0].Push(context.Background(), sdk.Message{Body: body}); err != nil {
			log.Fatal(err)
		}
	}
	outbox := func() sdk.OutboxStatus { return mesh.Nodes[0].Status().Peers[0].Outbox }
	for outbox().Sending > 0 {
		time.Sleep(time.Millisecond)
	}
	depth := outbox().Depth
	mesh.Nodes[1].Start(t)
	for outbox().Failures > 0 { // until the next probe
		time.Sleep(time.Millisecond)
	}
	start, left := time.Now(), outbox().Depth
	if err := mesh.Nodes[0].Flush(context.Background()); err != nil {
		log.Fatal(err)
	}
	took := time.Since(start)
	fmt.Printf("replay of %d messages of 1 KB at rtt=%v: %v, %.4f RTT a message\n", depth, rtt, took.Round(time.Millisecond), ratio(took, rtt)/float64(left))
}

func at(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)
	return all[int(float64(len(all)-1)*q)]
}
