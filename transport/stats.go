package transport

import "time"

// Stats is a copy of all counters.
type Stats struct {
	Generation uint64 // the identity that new requests use, counted from 1; 0: no material yet
	Snapshot   uint64 // changes of trust and peers so far
	Draining   int    // older generations with exchanges in flight
	Inbound    int    // live connections from peers
	Accepted   uint64 // inbound handshakes that named a peer
	Refused    uint64 // inbound handshakes refused
	Cut        uint64 // live connections, both directions, closed because trust changed
	NotPeer    uint64 // requests refused because their host is no peer
	Peers      []PeerStats
}

// PeerStats are the counters of one peer since it was first configured; both lanes together unless said
// otherwise.
type PeerStats struct {
	Name string

	Requests uint64          // calls of RoundTrip
	Attempts uint64          // requests given to a connection
	Silences uint64          // attempts repeated because nothing was heard
	Resent   uint64          // attempts repeated because the connection died
	Errors   map[Kind]uint64 // failed calls of RoundTrip

	Dials      uint64 // connections asked for
	DialErrors uint64
	Handshakes uint64 // TLS handshakes that succeeded
	Resumed    uint64 // of those, resumed sessions
	Warmed     uint64 // connections made before any request needed them
	Cold       uint64 // attempts that waited for a dial
	Warm       uint64 // attempts that were a warmed connection's first
	Reused     uint64 // attempts on a connection used before
	Retired    uint64 // connections taken out of use after silence

	Open     [2]int           // connections now, by Lane
	Idle     [2]int           // of those, without an exchange
	InFlight [2]int           // exchanges now
	Usual    [2]time.Duration // usual time to the answer of a small request; 0: not known yet
}

// Stats returns a copy of all counters.
func (t *Transport) Stats() Stats {
	st := Stats{
		Inbound: t.live.countInbound(), Accepted: t.accepted.Load(), Refused: t.refused.Load(),
		Cut: t.cuts.Load(), NotPeer: t.notPeer.Load(),
	}
	if g := t.current.Load(); g != nil {
		st.Generation = g.id
	}
	t.mu.Lock()
	st.Draining = len(t.old)
	t.mu.Unlock()
	s := t.snap.Load()
	if s == nil {
		return st
	}
	st.Snapshot = s.seq
	gens := t.generations()
	for _, e := range s.entries {
		ps := e.member.counters.copy()
		ps.Name = e.peer.Name
		for l := range Lane(lanes) {
			ps.Usual[l] = e.member.usual[l].usual(0)
			for _, g := range gens {
				g.count(poolKey{e.member, l}, &ps)
			}
		}
		st.Peers = append(st.Peers, ps)
	}
	return st
}

func (c *counters) copy() PeerStats {
	ps := PeerStats{
		Requests: c.requests.Load(), Attempts: c.attempts.Load(), Silences: c.silences.Load(), Resent: c.resent.Load(),
		Dials: c.dials.Load(), DialErrors: c.dialErrors.Load(), Handshakes: c.handshakes.Load(), Resumed: c.resumed.Load(),
		Warmed: c.warmed.Load(), Cold: c.cold.Load(), Warm: c.warm.Load(), Reused: c.reused.Load(), Retired: c.retired.Load(),
		Errors: make(map[Kind]uint64),
	}
	for k := range c.errors {
		if n := c.errors[k].Load(); n > 0 {
			ps.Errors[Kind(k)] = n
		}
	}
	return ps
}

// count adds the connections of a pool, if there is one.
func (g *generation) count(k poolKey, ps *PeerStats) {
	g.mu.RLock()
	p := g.pools[k]
	g.mu.RUnlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		ps.Open[k.lane]++
		ps.InFlight[k.lane] += c.active
		if c.active == 0 {
			ps.Idle[k.lane]++
		}
	}
}
