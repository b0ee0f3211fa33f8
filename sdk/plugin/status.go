package plugin

import (
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A State says how a plugin is.
type State string

// The states of a plugin.
const (
	Serving  State = "serving"  // a process answers
	Degraded State = "degraded" // none does; one is being started again, and the last good material serves
	Closed   State = "closed"   // Close was called
)

// Status is how a plugin is now. It holds no secret.
type Status struct {
	State   State
	Since   time.Time // of the state
	Name    string    // what the plugin calls itself
	Version string
	Roles   []fault.Role // that it has, as configured

	Generation uint64 // of the process in service, or the last one; the first is 1
	Digest     string // SHA-256 of what runs, hexadecimal; of the manifest where there is one
	PID        int    // 0: none, or not ours
	Revision   uint64 // of the configuration in force

	Restarts  uint64    // processes started after the first, without those of Replace
	Hangs     uint64    // of those, the ones that had to be killed
	Calls     uint64    // made
	Failures  uint64    // of those, failed
	Retries   uint64    // signatures that waited for another process
	Rejected  uint64    // answers that failed a check
	LogLost   uint64    // lines of log dropped
	LastError string    // why the last process ended or did not start; empty: none
	NextStart time.Time // when the next attempt is due while Degraded

	// Material says which process produced what serves, for each role that has been pulled.
	Material map[fault.Role]Origin
}

// An Origin is the process that produced material.
type Origin struct {
	Generation uint64
	Digest     string
	At         time.Time
}

// An EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventStarted  EventKind = "started"  // a process is configured and serves
	EventExited   EventKind = "exited"   // the process in service ended by itself
	EventHung     EventKind = "hung"     // it did not answer and was killed
	EventFailed   EventKind = "failed"   // a process could not be started; another attempt follows
	EventRejected EventKind = "rejected" // an answer failed a check
	EventReplaced EventKind = "replaced" // Replace put another version in service
	EventRefused  EventKind = "refused"  // Replace kept the old version
	EventClosed   EventKind = "closed"
)

// An Event is something that happened to a plugin. It holds no secret.
type Event struct {
	Kind       EventKind
	Time       time.Time
	Generation uint64
	Digest     string
	PID        int
	Role       fault.Role    // for EventRejected
	Err        error         // why; nil where there is no reason
	Delay      time.Duration // until the next start, for EventExited, EventHung and EventFailed
}
