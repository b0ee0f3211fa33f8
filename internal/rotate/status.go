package rotate

import (
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A State says what Current is worth. The set is closed.
type State string

// The states of a Source, the first that applies.
const (
	Closed  State = "closed"  // Close was called; Current stays what it was
	Empty   State = "empty"   // nothing has been pulled yet (Optional)
	Ended   State = "expired" // the material has expired
	Old     State = "stale"   // long past due and not renewed
	Failing State = "failing" // valid and not stale; the last pull failed
	Fresh   State = "fresh"   // as it should be
)

// A WatchState says whether changes are noticed before the material is due. The set is closed.
type WatchState string

// The states of a Watch.
const (
	Polling  WatchState = "polling"  // there is no Watch, or it is unsupported
	Watching WatchState = "watching" // Watch runs
	Waiting  WatchState = "waiting"  // Watch ended early and waits for its restart
)

// A Status is what an operator wants to know about one piece of material. All times are wall clock.
type Status struct {
	Role        fault.Role
	State       State
	Generation  uint64    // counts changes; 1 is the first material
	Since       time.Time // when this generation went into service
	Age         time.Duration
	LastAttempt time.Time // when the last pull began
	LastSuccess time.Time // when a pull last brought usable material, the same or new
	LastError   error     // of the last pull; nil if it succeeded
	Failures    int       // pulls that failed in a row
	Next        time.Time // when the next pull is due
	Expires     time.Time // zero: never
	Abandoned   int       // calls of Pull that ignored the end of their context and still run
	Watch       WatchState
	WatchError  error // why Watch ended early
}
