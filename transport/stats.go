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
