package transport_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// upgradeToEcho leaves HTTP and repeats every line, and ends when the other side has ended its writing.
func upgradeToEcho(w http.ResponseWriter, _ *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			_, _ = io.WriteString(c, "bye\n")
			return
		}
		_, _ = io.WriteString(c, line)
	}
}

// upgrade asks for the other protocol.
func upgrade(t *testing.T, ctx context.Context, from, to *node) io.ReadWriteCloser {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+to.addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := from.tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	rw, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("status %d with a body of %T, want 101 and one to write to", resp.StatusCode, resp.Body)
	}
	return rw
}

func TestAnUpgradedConnectionIsTheCallers(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"plain":     context.Background(),
		"operation": transport.WithOperation(context.Background(), "op"),
	} {
		t.Run(name, func(t *testing.T) {
			ca := sdktest.NewCA(t)
			a := newNode(t, "a", transport.Options{}, nil)
			b := newNode(t, "b", transport.Options{}, http.HandlerFunc(upgradeToEcho))
			join(t, ca, a, b)
			rw := upgrade(t, ctx, a, b)
			watchdog := time.AfterFunc(patient, func() { _ = a.tr.Close() })
			defer watchdog.Stop()
			read := bufio.NewReader(rw)
			for i := range 100 {
				if i == 50 { // the connection is in use, and stays while the identity changes
					update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
				}
				line := fmt.Sprintf("line %d\n", i)
				if _, err := io.WriteString(rw, line); err != nil {
					t.Fatalf("write %d: %v", i, err)
				}
				if got, err := read.ReadString('\n'); err != nil || got != line {
					t.Fatalf("read %d: %q, %v", i, got, err)
				}
			}
			half, ok := rw.(interface{ CloseWrite() error })
			if !ok {
				t.Fatal("its writing cannot be ended alone, as net/http's can")
			}
			if err := half.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(read); err != nil || string(rest) != "bye\n" {
				t.Fatalf("after the end of the writing: %q, %v", rest, err)
			}
			if err := rw.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the connection is given up", func() bool {
				return peerStats(t, a.tr, "b").InFlight[transport.Quorum] == 0
			})
		})
	}
}

func TestAnUpgradedConnectionEndsWithItsTrust(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, http.HandlerFunc(upgradeToEcho))
	join(t, ca, a, b)
	rw := upgrade(t, t.Context(), a, b)
	if _, err := io.WriteString(rw, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(rw).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(sdktest.NewCA(t)), Peers: []transport.Peer{b.peer()}})
	if _, err := rw.Read(make([]byte, 1)); !errors.Is(err, transport.ErrPermission) {
		t.Fatalf("read after the trust is gone: %v, want ErrPermission", err)
	}
}
