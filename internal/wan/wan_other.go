//go:build !linux

package wan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"time"
)

// A Network needs Linux.
type Network struct{}

// A Host needs Linux.
type Host struct{}

// New fails with an error that wraps errors.ErrUnsupported.
func New(time.Duration, int) (*Network, error) {
	return nil, fmt.Errorf("wan: network namespaces need Linux: %w", errors.ErrUnsupported)
}

func (*Network) Host(int) *Host         { return nil }
func (*Network) SetDelay(time.Duration) {}
func (*Network) Blackhole()             {}
func (*Network) Heal()                  {}
func (*Network) Lost() int64            { return 0 }
func (*Network) Close() error           { return nil }

func (*Host) IP() netip.Addr { return netip.Addr{} }

func (*Host) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

func (*Host) Listen(int) (net.Listener, error) { return nil, errors.ErrUnsupported }
func (*Host) Start(*exec.Cmd) error            { return errors.ErrUnsupported }
