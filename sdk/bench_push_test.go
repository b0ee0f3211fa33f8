package sdk_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// warm makes the connections that the measurement then finds open.
func warm(b *testing.B, workers int, f func() error) {
	b.Helper()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range 4 {
				if err := f(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// parallel runs f b.N times on that many goroutines and reports operations a second and core.
func parallel(b *testing.B, workers int, f func() error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	cpu := cpuTime()
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "push/s")
	if cpu := cpuTime() - cpu; cpu > 0 {
		b.ReportMetric(float64(b.N)/cpu.Seconds(), "push/s/core")
	}
}

// Pushes of 1 KB to N = 3 on loopback, everything in one process: all signatures made and verified, acks
// signed, against the same fan-out by hand, over the same mutual TLS, that signs nothing. Compare push/s/core.
func BenchmarkPush(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	for _, workers := range []int{1, 64} {
		b.Run(fmt.Sprintf("federation-%d", workers), func(b *testing.B) {
			mesh := sdktest.Mesh(b, 3, sdktest.MeshOptions{Inbound: func(int) sdk.Inbound {
				return sdk.Inbound{Apply: func(context.Context, sdk.Delivery) (quorum.Verdict, error) { return sdk.Applied, nil }}
			}, Configure: func(_ int, b *sdk.Builder) {
				b.Quorum.AckTimeout = 30 * time.Second // a machine with other work to do is no failure
			}})
			push := func() error {
				r, err := mesh.Nodes[0].Push(b.Context(), sdk.Message{Body: body})
				if err == nil && r.Receipt == nil {
					err = fmt.Errorf("no receipt: %s", r.Unproven)
				}
				return err
			}
			warm(b, workers, push)
			parallel(b, workers, push)
			if err := mesh.Nodes[0].Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
		b.Run(fmt.Sprintf("by-hand-%d", workers), func(b *testing.B) {
			urls, client := handMade(b, 2, workers)
			push := func() error {
				g, ctx := errgroup.WithContext(b.Context())
				for _, url := range urls {
					g.Go(func() error {
						req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/push", bytes.NewReader(body))
						if err != nil {
							return err
						}
						resp, err := client.Do(req)
						if err != nil {
							return err
						}
						defer resp.Body.Close()
						_, err = io.Copy(io.Discard, resp.Body)
						return err
					})
				}
				return g.Wait()
			}
			warm(b, workers, push)
			parallel(b, workers, push)
		})
	}
}

// handMade is n servers with mutual TLS and a client for them, as somebody would write them who knows net/http.
func handMade(b *testing.B, n, conns int) (urls []string, client *http.Client) {
	ca := sdktest.NewCA(b)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	for i := range n {
		id := ca.Issue(b, sdktest.Leaf{DNS: []string{fmt.Sprintf("node-%d.mesh", i)}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err != nil {
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"applied":1}`)
			}),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{*id.TLS}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
		}
		go func() { _ = srv.ServeTLS(l, "", "") }()
		b.Cleanup(func() { _ = srv.Close() })
		urls = append(urls, "https://"+l.Addr().String())
	}
	id := ca.Issue(b, sdktest.Leaf{DNS: []string{"client.mesh"}})
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{*id.TLS}},
		MaxIdleConnsPerHost: conns,
	}
	b.Cleanup(transport.CloseIdleConnections)
	return urls, &http.Client{Transport: transport}
}
