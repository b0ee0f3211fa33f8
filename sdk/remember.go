package sdk

import (
	"sync"

	"github.com/alphaonedev/federation/sdk/quorum"
)

// An ackMemory remembers, for each peer by itself, which messages were applied, within a bound: one peer's
// messages cannot push another's out, nor claim its operation ids.
type ackMemory struct {
	limit int

	mu    sync.Mutex
	peers map[string]*peerMemory // by peer ID
}

type peerMemory struct {
	known map[string]*remembered
	order []string // a ring of what is done, oldest at next
	next  int
}

// A remembered is a message that is being applied, or was.
type remembered struct {
	done chan struct{} // closed when it was applied, or was not
	ack  *quorum.Ack   // nil when it was not; replaced under the memory's lock
}

func newAckMemory(limit int) *ackMemory {
	if limit <= 0 {
		limit = defaultRemember
	}
	return &ackMemory{limit: limit, peers: make(map[string]*peerMemory)}
}

// begin claims a message. first says that the caller has to apply it and then to call end.
func (m *ackMemory) begin(peer, key string) (r *remembered, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[peer]
	if p == nil {
		p = &peerMemory{known: make(map[string]*remembered)}
		m.peers[peer] = p
	}
	if r := p.known[key]; r != nil {
		return r, false
	}
	r = &remembered{done: make(chan struct{})}
	p.known[key] = r
	return r, true
}

// end says what became of a message that begin gave to the caller. Without an ack it is forgotten.
func (m *ackMemory) end(peer, key string, r *remembered, ack *quorum.Ack) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[peer]
	if r.ack = ack; ack == nil {
		delete(p.known, key)
		close(r.done)
		return
	}
	switch {
	case len(p.order) < m.limit:
		p.order = append(p.order, key)
	default:
		delete(p.known, p.order[p.next])
		p.order[p.next] = key
		p.next = (p.next + 1) % m.limit
	}
	close(r.done)
}

// renew replaces an ack by the same one with another proof.
func (m *ackMemory) renew(r *remembered, ack *quorum.Ack) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.ack = ack
}

func (m *ackMemory) ackOf(r *remembered) *quorum.Ack {
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.ack
}
