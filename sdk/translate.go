package sdk

import (
	"fmt"
	"strings"

	"github.com/alphaonedev/federation/internal/rotate"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// materialEvent is an event of the refresh engine as users see it.
func materialEvent(e rotate.Event, peer string) Event {
	out := Event{Time: e.Time, Role: e.Role, Peer: peer, Generation: e.Generation, Err: e.Err}
	switch e.Kind {
	case rotate.Changed:
		out.Kind, out.Detail = EventChanged, "new material is in service"
	case rotate.Refused:
		out.Kind, out.Detail = EventRefused, "new material is refused; the last good stays in service"
	case rotate.Failed:
		out.Kind, out.Detail = EventFailed, "the provider failed; the last good material stays in service"
	case rotate.Recovered:
		out.Kind, out.Detail = EventRecovered, "the provider works again"
	case rotate.Stale:
		out.Kind, out.Detail = EventStale, "the material is long past due and not renewed"
	case rotate.Expired:
		out.Kind, out.Detail = EventExpired, "the material in service has expired"
	case rotate.WatchLost:
		out.Kind, out.Detail = EventWatchLost, "the watch ended; changes are seen by polling until it is back"
	default:
		out.Kind, out.Detail = EventKind(e.Kind), string(e.Kind)
	}
	return out
}

// transportEvent is told what happens to connections.
func (f *Federation) transportEvent(e transport.Event) {
	if e.Type == transport.EventKeyGone {
		f.identity.Suspect() // its source has put another in its place before the next pull was due
	}
	detail := string(e.Type)
	if e.Inbound {
		detail += ", inbound"
	}
	if e.N > 0 {
		detail += fmt.Sprintf(", %d connections", e.N)
	}
	f.events.emit(Event{Time: e.Time, Kind: EventConnection, Peer: e.Peer, Generation: e.Generation, Detail: detail, Err: e.Err})
}

// directoryEvent is told what happens in the key directory.
func (f *Federation) directoryEvent(e signer.DirectoryEvent) {
	ids := strings.Join(e.KeyIDs, ", ")
	switch e.Kind {
	case signer.DirectoryConflict:
		f.events.emit(Event{Kind: EventKeyConflict, Peer: e.Peer, Err: e.Err, Detail: fmt.Sprintf("signing keys %s are claimed by %s too; they are refused", ids, strings.Join(e.Others, ", "))})
	case signer.DirectoryRejected:
		f.events.emit(Event{Kind: EventRefused, Role: RoleKey, Peer: e.Peer, Err: e.Err, Detail: "the certificates of signing keys " + ids + " are not acceptable"})
	case signer.DirectoryFailed:
		f.events.emit(Event{Kind: EventFailed, Role: RoleKey, Peer: e.Peer, Err: e.Err, Detail: "the peer's signing keys cannot be fetched"})
	}
}
