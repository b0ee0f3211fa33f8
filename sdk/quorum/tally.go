package quorum

// A State is what a Tally knows.
type State int

// The three states. Met and Lost are final.
const (
	Pending State = iota // neither met nor out of reach
	Met                  // W identities have acked
	Lost                 // fewer than W can ever ack
)

// String returns "pending", "met" or "lost".
func (s State) String() string {
	switch s {
	case Pending:
		return "pending"
	case Met:
		return "met"
	default:
		return "lost"
	}
}

// An Identity is who acked, as authenticated: the key that signed the ack and the name that TLS verified.
// An empty part is unknown and equals nothing.
type Identity struct {
	Key string // RFC 7638 thumbprint of the key that signed the ack; empty for an ack without proof
	TLS string // the peer's identity as its certificate proved it; empty without one
}

// A Tally counts acks toward W of N. Each of the N voters (the local node and its peers) is settled once, as
// acked or failed. An ack counts only if neither part of its identity has been counted, so that two URLs
// which lead to one node are one vote. A Tally is not safe for concurrent use.
type Tally struct {
	need, acked int
	open        int // voters not settled
	settled     []bool
	keys, names map[string]struct{}
}

// NewTally returns a tally for a policy that Resolve returned.
func NewTally(p Policy) *Tally {
	return &Tally{need: p.Writes, open: p.N, settled: make([]bool, p.N)}
}

// Ack settles a voter, 0 to N-1, as acked by id and reports whether it counted. It does not count when the
// voter is settled already, when the id is wholly empty, or when a part of it has been counted.
func (t *Tally) Ack(voter int, id Identity) bool {
	if !t.settle(voter) || id == (Identity{}) {
		return false
	}
	_, key := t.keys[id.Key]
	_, name := t.names[id.TLS]
	if key || name {
		return false
	}
	t.keys, t.names = remember(t.keys, id.Key), remember(t.names, id.TLS)
	t.acked++
	return true
}

// Fail settles a voter, 0 to N-1, as one that will not ack. It does nothing to one that is settled.
func (t *Tally) Fail(voter int) { t.settle(voter) }

// State says whether the quorum is met, lost, or still open.
func (t *Tally) State() State {
	switch {
	case t.acked >= t.need:
		return Met
	case t.acked+t.open < t.need:
		return Lost
	default:
		return Pending
	}
}

// Acked is the number of acks counted.
func (t *Tally) Acked() int { return t.acked }

// Need is W.
func (t *Tally) Need() int { return t.need }

// Open is the number of voters that are not settled.
func (t *Tally) Open() int { return t.open }

// settle reports whether voter was open.
func (t *Tally) settle(voter int) bool {
	if voter < 0 || voter >= len(t.settled) || t.settled[voter] {
		return false
	}
	t.settled[voter] = true
	t.open--
	return true
}

func remember(set map[string]struct{}, s string) map[string]struct{} {
	if s == "" {
		return set
	}
	if set == nil {
		set = make(map[string]struct{})
	}
	set[s] = struct{}{}
	return set
}
