package rotate

import (
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Kind is one of the things that happen to material. The set is closed.
type Kind string

// The kinds of events.
const (
	Changed   Kind = "changed"    // new material is in service
	Refused   Kind = "refused"    // Accept kept new material out of service; once for the same material
	Failed    Kind = "failed"     // a pull failed; the last good material stays
	Recovered Kind = "recovered"  // a pull succeeded after failures, or what was stale was renewed
	Stale     Kind = "stale"      // long past due and not renewed; once until it recovers
	Expired   Kind = "expired"    // what is in service has ended; once until it is replaced
	WatchLost Kind = "watch-lost" // Watch ended early; it is restarted, and until then only polling sees changes
)

// An Event is one thing that happened.
type Event struct {
	Kind       Kind
	Role       fault.Role
	Time       time.Time // wall clock
	Generation uint64    // of the material in service; 0: none
	Err        error     // why, for Refused, Failed, Stale, Expired and WatchLost
	Failures   int       // pulls that failed in a row, for Refused and Failed
	Next       time.Time // when the next pull is due
	Expires    time.Time // when what is in service ends; zero: never, or nothing is
}
