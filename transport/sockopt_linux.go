package transport

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long written data may stay unacknowledged (tcp(7), TCP_USER_TIMEOUT).
const userTimeout = 10 * time.Second

func setUserTimeout(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
}
