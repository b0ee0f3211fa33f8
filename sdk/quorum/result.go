package quorum

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// ErrSameIdentity is the Err of an outcome whose ack was good and did not count, because its key or its TLS
// identity has been counted: two URLs lead to one node, or one leads back to this node.
var ErrSameIdentity = errors.New("same identity as an ack already counted")

// A Kind is what became of a message at one node. The set is closed.
type Kind int

// The kinds. A peer that has not answered when a push returns is Unsent or Unknown; it is still being tried.
const (
	Unsent  Kind = iota // nothing of the message has left this node for that peer
	Unknown             // written, no answer: the peer may or may not have it
	Acked               // the peer has it and said so in an ack that holds
	Drifted             // the peer acked something else: another operation, digest, sender or recipient
	Refused             // the peer answered and did not take it
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Unsent:
		return "unsent"
	case Unknown:
		return "unknown"
	case Acked:
		return "acked"
	case Drifted:
		return "drifted"
	case Refused:
		return "refused"
	default:
		return fmt.Sprintf("kind(%d)", int(k))
	}
}

// An Outcome is what became of a message at one node, the local one included.
type Outcome struct {
	Peer     string        // the peer's name; "local" for this node
	ID       string        // the peer's ID
	Kind     Kind          //
	Counted  bool          // whether it counts toward W
	Recorded bool          // whether the outbox holds, or held, the message for this peer
	Verdict  Verdict       // of an ack; 0 otherwise
	Ack      *Ack          // of an acked outcome; nil on a wire without acks
	Attempts int           // requests made
	Elapsed  time.Duration // from the start of the push to the outcome; 0 while there is none
	Err      error         // why it is not acked, or does not count; nil otherwise
}

// String says the outcome in one line, without secrets.
func (o Outcome) String() string {
	s := o.Peer + " " + o.Kind.String()
	if o.Err != nil {
		s += " (" + o.Err.Error() + ")"
	}
	return s
}

// A Result is a push that met its quorum, as it stood when W was reached.
type Result struct {
	Operation string
	Digest    Digest
	N, W      int
	Acked     int           // acks counted; at least W
	Elapsed   time.Duration // from the call to W
	Outcomes  []Outcome     // the local node first, then the peers in configured order
	Receipt   *Receipt      // W signed acks; nil when some acks came without proof
	Unproven  string        // why Receipt is nil; empty otherwise
}

// A Reason says why a quorum was not met.
type Reason string

// The reasons. When several apply, the one that kept most peers from acking is given; among equals, the one
// that waiting helps least.
const (
	Unreachable Reason = "unreachable" // peers could not be reached
	Timeout     Reason = "timeout"     // peers did not answer in time
	RefusedBy   Reason = "refused"     // peers answered and did not take the message, or said nothing that proves it
	Drift       Reason = "drift"       // peers acked something else, or as somebody who is counted already
)

// A NotMetError says that a push did not reach W. The message may be at some peers and stays in the outbox
// for the others: it is not undone, and pushing it again under the same operation id is safe.
type NotMetError struct {
	Got, Need int
	Reason    Reason
	Outcomes  []Outcome // the local node first, then the peers in configured order
	Err       error     // the context's error when it ended the wait; nil otherwise
}

func (e *NotMetError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "quorum not met: %d of %d: %s", e.Got, e.Need, e.Reason)
	sep := ": "
	shown := 0
	for _, o := range e.Outcomes {
		if o.Counted {
			continue
		}
		if shown == maxShown {
			b.WriteString("; …")
			break
		}
		b.WriteString(sep)
		b.WriteString(o.String())
		sep = "; "
		shown++
	}
	return b.String()
}

// maxShown bounds an error message when there are many peers.
const maxShown = 8

func (e *NotMetError) Unwrap() error { return e.Err }

// ReasonFor picks the reason for outcomes that do not meet a quorum. late says that the deadline ended the
// wait, so that what was unsent or unknown, and has not failed, counts as timed out. An unknown outcome that failed
// counts by its Err: as timed out if that is a timeout, as unreachable if it matches ErrUnavailable, such as a
// connection that died, and else as an answer that was no ack.
func ReasonFor(outcomes []Outcome, late bool) Reason {
	count := map[Reason]int{}
	for _, o := range outcomes {
		switch {
		case o.Counted:
		case o.Kind == Acked, o.Kind == Drifted:
			count[Drift]++
		case o.Kind == Refused:
			count[RefusedBy]++
		case o.Err == nil && !late: // still being tried
		case o.Err == nil, o.Kind == Unknown && timedOut(o.Err):
			count[Timeout]++
		case o.Kind == Unknown && !errors.Is(o.Err, fault.ErrUnavailable):
			count[RefusedBy]++
		default:
			count[Unreachable]++
		}
	}
	best := Unreachable
	for _, r := range []Reason{Timeout, RefusedBy, Drift} {
		if count[r] > 0 && count[r] >= count[best] {
			best = r
		}
	}
	if late && count[best] == 0 {
		return Timeout
	}
	return best
}

// timedOut reports whether a wait ended, and nothing else was wrong.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.Canceled) || errors.As(err, &t) && t.Timeout() // as context.DeadlineExceeded has it
}
