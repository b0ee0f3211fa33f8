package wan

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Host is one end of a Network.
type Host struct {
	ip  [4]byte
	ns  *os.File // its network namespace
	tun *os.File
}

// IP is the host's address.
func (h *Host) IP() netip.Addr { return netip.AddrFrom4(h.ip) }

// Dial connects from the host. addr is an IP address and a port: there is no name resolution in a namespace.
func (h *Host) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = h.within(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Listen listens on a TCP port of the host; 0 is a free one.
func (h *Host) Listen(port int) (l net.Listener, err error) {
	err = h.within(func() error {
		l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", h.IP(), port))
		return err
	})
	return l, err
}

// Start starts a command on the host.
func (h *Host) Start(cmd *exec.Cmd) error { return h.within(cmd.Start) }

// within runs f on a thread that is in the host's namespace. A socket stays where it was made.
func (h *Host) within(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return os.NewSyscallError("setns", err)
	}
	ferr := f()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err) // the thread stays locked, and dies with its goroutine
	}
	runtime.UnlockOSThread()
	return ferr
}

// newHost makes a namespace and, in it, a device with an address that reaches all other hosts.
func newHost(i int) (*Host, error) {
	h := &Host{ip: [4]byte{10, 9, byte(i + 1), 1}}
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("unshare", err)
	}
	ferr := h.setUp()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		h.close()
		return nil, os.NewSyscallError("setns", err) // the thread stays locked, and dies with its goroutine
	}
	runtime.UnlockOSThread()
	if ferr != nil {
		h.close()
		return nil, ferr
	}
	return h, nil
}

func (h *Host) setUp() error {
	var err error
	if h.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	const name = "wan0"
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("TUNSETIFF", err)
	}
	h.tun = os.NewFile(uintptr(fd), name)
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(sock)
	set := func(dev string, req uint, what string, fill func(*unix.Ifreq) error) error {
		ifr, err := unix.NewIfreq(dev)
		if err != nil {
			return err
		}
		if err := fill(ifr); err != nil {
			return err
		}
		return os.NewSyscallError(what, unix.IoctlIfreq(sock, req, ifr))
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	for _, step := range []func() error{
		func() error { return set("lo", unix.SIOCSIFFLAGS, "up lo", up) },
		func() error {
			return set(name, unix.SIOCSIFADDR, "address", func(r *unix.Ifreq) error { return r.SetInet4Addr(h.ip[:]) })
		},
		func() error {
			return set(name, unix.SIOCSIFNETMASK, "netmask", func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 0, 0}) })
		},
		func() error {
			return set(name, unix.SIOCSIFMTU, "mtu", func(r *unix.Ifreq) error { r.SetUint32(MTU); return nil })
		},
		func() error { return set(name, unix.SIOCSIFFLAGS, "up", up) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) close() {
	if h.tun != nil {
		_ = h.tun.Close()
	}
	if h.ns != nil {
		_ = h.ns.Close()
	}
}
