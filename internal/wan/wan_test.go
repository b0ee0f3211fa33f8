package wan_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/wan"
)

func newNetwork(t *testing.T, oneWay time.Duration) *wan.Network {
	t.Helper()
	n, err := wan.New(oneWay, 2)
	if err != nil {
		t.Skipf("no network to be had here: %v", err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func echo(t *testing.T, h *wan.Host) string {
	t.Helper()
	l, err := h.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, h *wan.Host, addr string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := h.Dial(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ping(t *testing.T, c net.Conn, limit time.Duration) error {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func TestEveryRoundTripTakesItsTime(t *testing.T) {
	n := newNetwork(t, 15*time.Millisecond)
	addr := echo(t, n.Host(1))
	began := time.Now()
	c := dial(t, n.Host(0), addr)
	if d := time.Since(began); d < 30*time.Millisecond {
		t.Errorf("a SYN's round trip took %v, want at least 30 ms", d)
	}
	began = time.Now()
	if err := ping(t, c, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < 30*time.Millisecond {
		t.Errorf("a round trip took %v, want at least 30 ms", d)
	}
}

func TestABlackholeLosesOldFlowsAndLetsNewOnesPass(t *testing.T) {
	n := newNetwork(t, time.Millisecond)
	addr := echo(t, n.Host(1))
	old := dial(t, n.Host(0), addr)
	if err := ping(t, old, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	n.Blackhole()
	var ne net.Error
	if err := ping(t, old, 200*time.Millisecond); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("over a blackholed flow: %v", err)
	}
	for end := time.Now().Add(20 * time.Second); n.Lost() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no packet of a blackholed flow is lost")
		}
	}
	if err := ping(t, dial(t, n.Host(0), addr), 20*time.Second); err != nil {
		t.Errorf("over a new flow: %v", err)
	}
	n.Heal()
	_ = old.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
		t.Errorf("after healing: %v", err)
	}
}

func TestHostsAreCutOffFromTheMachine(t *testing.T) {
	n := newNetwork(t, 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if c, err := n.Host(0).Dial(ctx, "tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("a host reached the machine's own loopback")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
