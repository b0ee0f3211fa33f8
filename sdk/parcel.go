package sdk

import "errors"

// The events of the outbox.
const (
	EventOutboxFull  EventKind = "outbox-full"    // a message was not recorded for a peer, whose queue is full
	EventOutboxAged  EventKind = "outbox-aged"    // messages were dropped that waited longer than the limit
	EventOutboxError EventKind = "outbox-error"   // the store failed
	EventQuarantined EventKind = "quarantined"    // a message is set aside, since a peer refuses it for good
	EventPeerDown    EventKind = "peer-down"      // a peer takes nothing; it is probed from time to time
	EventSameNode    EventKind = "same-node"      // two peers, or a peer and this node, turn out to be one
	EventReceived    EventKind = "receiver-fault" // the application panicked, or answered what it may not
)

// errOutboxFull is why a message is not kept for a peer.
var errOutboxFull = errors.New("the outbox is full for this peer")

// errBehind is why a push does not wait for a peer.
var errBehind = errors.New("too many messages wait for this peer")

// errLeft is why nothing is brought to a peer.
var errLeft = errors.New("the peer has left")

// errAged is why a message is brought to nobody any more.
var errAged = errors.New("the message has waited too long in the outbox")

// A parcel is one message on its way to one peer.
type parcel struct {
	*letter
	push  *push // who waits for it; nil when it comes from the outbox alone
	voter int

	// Guarded by the courier.
	seq      uint64 // in the outbox
	known    bool   // whether seq is known: 0 then means that it is not recorded
	waiting  bool   // left to replay
	passed   uint64 // the first entry that replay left out because this parcel carries the same operation; 0: none
	settled  bool
	acked    bool
	refusals int // before this attempt
}
