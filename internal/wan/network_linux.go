package wan

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// MTU is that of every host's device.
const MTU = 1500

// A Network joins hosts. It is safe for concurrent use.
type Network struct {
	delay atomic.Int64 // one way, ns
	hosts []*Host
	wg    sync.WaitGroup
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex
	seen map[flow]bool // that passed since the last Heal
	dead map[flow]bool
	lost atomic.Int64
}

// New makes a network of hosts that are oneWay apart from each other. Close it.
func New(oneWay time.Duration, hosts int) (*Network, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("wan: network namespaces need root: %w", errors.ErrUnsupported)
	}
	n := &Network{seen: make(map[flow]bool), dead: make(map[flow]bool), done: make(chan struct{})}
	n.SetDelay(oneWay)
	for i := range hosts {
		h, err := newHost(i)
		if err != nil {
			n.Close()
			return nil, fmt.Errorf("wan: host %d: %w", i, err)
		}
		n.hosts = append(n.hosts, h)
	}
	for _, h := range n.hosts {
		q := make(chan packet, 1<<16)
		n.wg.Add(2)
		go n.receive(h, q)
		go n.deliver(q)
	}
	return n, nil
}

// Host returns the i-th host.
func (n *Network) Host(i int) *Host { return n.hosts[i] }

// SetDelay changes the one-way delay for packets sent from now on.
func (n *Network) SetDelay(oneWay time.Duration) { n.delay.Store(int64(oneWay)) }

// Blackhole loses, from now on, every packet of the flows seen so far, silently. New flows pass.
func (n *Network) Blackhole() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for f := range n.seen {
		n.dead[f] = true
	}
}

// Heal lets every flow pass again, and forgets which were seen.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.seen)
	clear(n.dead)
}

// Lost is how many packets were blackholed.
func (n *Network) Lost() int64 { return n.lost.Load() }

// Close takes the network down. It may be called again.
func (n *Network) Close() error {
	n.once.Do(func() {
		close(n.done)
		for _, h := range n.hosts {
			h.close()
		}
		n.wg.Wait()
	})
	return nil
}
