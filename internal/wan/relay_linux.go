package wan

import (
	"encoding/binary"
	"os"
	"time"
)

// A flow is one direction of a TCP or UDP conversation.
type flow struct {
	src, dst         [4]byte
	srcPort, dstPort uint16
}

type packet struct {
	due  time.Time
	data []byte
	to   *os.File
}

const (
	ipHeader = 20
	protoTCP = 6
	protoUDP = 17
)

// receive takes what a host sends and puts it on its way.
func (n *Network) receive(h *Host, q chan<- packet) {
	defer n.wg.Done()
	defer close(q)
	buf := make([]byte, 1<<16)
	for {
		k, err := h.tun.Read(buf)
		if err != nil {
			return
		}
		p := buf[:k]
		if k < ipHeader || p[0]>>4 != 4 {
			continue // IPv6 neighbour discovery and the like
		}
		to := n.hostAt([4]byte(p[16:20]))
		if to == nil || n.swallows(p) {
			continue
		}
		select {
		case q <- packet{time.Now().Add(time.Duration(n.delay.Load())), append([]byte(nil), p...), to.tun}:
		case <-n.done:
			return
		}
	}
}

// deliver hands packets over when they are due.
func (n *Network) deliver(q <-chan packet) {
	defer n.wg.Done()
	for p := range q {
		if wait := time.Until(p.due); wait > 0 {
			time.Sleep(wait)
		}
		_, _ = p.to.Write(p.data) // a full device drops, as networks do
	}
}

func (n *Network) hostAt(ip [4]byte) *Host {
	for _, h := range n.hosts {
		if h.ip == ip {
			return h
		}
	}
	return nil
}

// swallows notes the flow of an IPv4 packet and reports whether it is blackholed.
func (n *Network) swallows(p []byte) bool {
	head := int(p[0]&0xf) * 4
	if (p[9] != protoTCP && p[9] != protoUDP) || len(p) < head+4 {
		return false
	}
	f := flow{
		src: [4]byte(p[12:16]), dst: [4]byte(p[16:20]),
		srcPort: binary.BigEndian.Uint16(p[head:]), dstPort: binary.BigEndian.Uint16(p[head+2:]),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen[f] = true
	if n.dead[f] {
		n.lost.Add(1)
		return true
	}
	return false
}
