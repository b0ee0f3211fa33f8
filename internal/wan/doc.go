// Package wan emulates a wide-area network inside one process, for measurements that a loopback cannot give.
//
//	n, err := wan.New(20*time.Millisecond, 2) // 40 ms of round trip between two hosts
//	defer n.Close()
//	l, err := n.Host(1).Listen(8443)
//	c, err := n.Host(0).Dial(ctx, "tcp", l.Addr().String())
//
// Each host is a network namespace of its own with a TUN device; what they send one another passes through this
// process, which delivers it late. The kernel's own TCP runs at both ends, so that slow start, retransmission and
// the round trip of a SYN are real. Flows can be blackholed while new ones pass.
//
// It needs Linux and root, and neither the ip command nor tc; New says so with an error that wraps
// errors.ErrUnsupported. Nothing of it outlives Close or the process. It never limits bandwidth and never
// reorders.
package wan
