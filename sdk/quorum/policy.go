package quorum

import (
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// Majority, as Policy.Writes, asks for n/2 + 1 of the N nodes.
const Majority = -1

// The defaults of a Policy.
const (
	DefaultAckTimeout    = 2 * time.Second
	DefaultClockSkewWarn = 30 * time.Second
)

// ErrDisabled is what Resolve returns, wrapped with the reason and the cure, for a federation that is off:
// one with zero writes or without peers. It is not a mistake in the configuration and does not match
// ErrConfig.
var ErrDisabled = errors.New("federation is off")

// A Policy says how many nodes must have a write before it counts, and how long to wait for them.
type Policy struct {
	// Writes is W, the number of nodes, this one included, that must have a write. Majority asks for
	// n/2 + 1. Zero means that federation is off.
	Writes int
	// N is the number of nodes, this one included. Resolve fills it in; what a caller sets is ignored.
	N int
	// AckTimeout bounds the wait for W acks. Default 2 s.
	AckTimeout time.Duration
	// ClockSkewWarn is the difference between our clock and the time in a peer's ack beyond which an event
	// is raised. Default 30 s.
	ClockSkewWarn time.Duration
}

// Resolve returns the policy for this node and that many peers: N is set, Majority is a number, zero
// durations are the defaults. It reports every problem at once, each as a *fault.ConfigError that names the
// field; W over N is a problem and is never clamped. A federation that is off yields ErrDisabled, unless
// there are problems beside that.
func (p Policy) Resolve(peers int) (Policy, error) {
	var problems []error
	problem := func(field, format string, args ...any) {
		problems = append(problems, &fault.ConfigError{Field: "Quorum." + field, Err: fmt.Errorf(format, args...)})
	}
	if peers < 0 {
		problem("N", "%d peers: a number of peers is never negative", peers)
		peers = 0
	}
	p.N = 1 + peers
	switch {
	case p.Writes < Majority:
		problem("Writes", "%d: give a count from 1 to %d, or quorum.Majority", p.Writes, p.N)
	case p.Writes > p.N && peers > 0:
		problem("Writes", "%d of %d nodes (this one and %d peers) can never be met: lower it to at most %d, or add peers",
			p.Writes, p.N, peers, p.N)
	case p.Writes == Majority:
		p.Writes = MajorityOf(p.N)
	}
	if p.AckTimeout < 0 {
		problem("AckTimeout", "%v: give a positive duration, or zero for %v", p.AckTimeout, DefaultAckTimeout)
	}
	if p.ClockSkewWarn < 0 {
		problem("ClockSkewWarn", "%v: give a positive duration, or zero for %v", p.ClockSkewWarn, DefaultClockSkewWarn)
	}
	if err := errors.Join(problems...); err != nil {
		return Policy{}, err
	}
	switch {
	case p.Writes == 0:
		return Policy{}, fmt.Errorf("%w: Quorum.Writes is 0; set it to the number of nodes that must have a write, or to quorum.Majority", ErrDisabled)
	case peers == 0:
		return Policy{}, fmt.Errorf("%w: there are no peers; add at least one to Peers", ErrDisabled)
	}
	if p.AckTimeout == 0 {
		p.AckTimeout = DefaultAckTimeout
	}
	if p.ClockSkewWarn == 0 {
		p.ClockSkewWarn = DefaultClockSkewWarn
	}
	return p, nil
}

// MajorityOf returns n/2 + 1, the smallest number of n nodes of which any two sets overlap.
func MajorityOf(n int) int { return n/2 + 1 }

// String says the policy as people do: "2 of 3 within 2s".
func (p Policy) String() string {
	if p.N == 0 {
		return fmt.Sprintf("%d writes, not resolved", p.Writes)
	}
	return fmt.Sprintf("%d of %d within %v", p.Writes, p.N, p.AckTimeout)
}
