package transport

import "time"

// An EventType says what happened; it is fit for a metric's label.
type EventType string

// The events of a Transport.
const (
	EventSnapshot    EventType = "snapshot"          // a change of trust or peers is in force
	EventGeneration  EventType = "generation"        // a new identity serves; N: connections handshaken for it beforehand
	EventDrained     EventType = "drained"           // the last exchange on an older identity ended; N: connections closed by the deadline
	EventCut         EventType = "cut"               // a live connection was closed because trust changed
	EventRefused     EventType = "refused"           // a handshake was refused: the certificate is not acceptable
	EventSilence     EventType = "silence"           // a request heard nothing and was sent again on a fresh connection
	EventResent      EventType = "resent"            // a request was sent again because its connection died
	EventRetired     EventType = "retired"           // connections that answered nothing were taken out of use; N: how many
	EventDialFailed  EventType = "dial-failed"       // a connection could not be made
	EventKeyGone     EventType = "key-gone"          // the identity's key will not sign any more (ErrExpired): give the next one
	EventCRLIgnored  EventType = "crl-ignored"       // a CRL is not enforced: unsigned by its issuer, delta or indirect
	EventCRLStale    EventType = "crl-stale"         // a CRL is past its next update and stays in force
	EventPeerExpired EventType = "peer-cert-expired" // a connection outlived the certificate it was made with, and leaves service
)

// An Event tells of something that an operator may want to know. It names peers, never URLs.
type Event struct {
	Time       time.Time
	Type       EventType
	Peer       string // "" if none is concerned or none was recognised
	Inbound    bool   // the connection came from the peer
	Generation uint64 // the identity concerned, counted from 1; 0: none
	N          int    // see the type
	Err        error  // why, where there is a why
}

func (t *Transport) event(e Event) {
	if t.opts.OnEvent == nil && t.opts.Logger == nil {
		return
	}
	e.Time = time.Now()
	if f := t.opts.OnEvent; f != nil {
		f(e)
	}
	if l := t.opts.Logger; l != nil {
		args := []any{"peer", e.Peer, "inbound", e.Inbound, "generation", e.Generation, "n", e.N}
		if e.Err != nil {
			args = append(args, "error", e.Err)
		}
		switch e.Type {
		case EventCut, EventRefused, EventCRLIgnored, EventCRLStale, EventDialFailed, EventKeyGone:
			l.Warn("transport: "+string(e.Type), args...)
		case EventSilence, EventResent, EventRetired, EventPeerExpired:
			l.Info("transport: "+string(e.Type), args...)
		default:
			l.Debug("transport: "+string(e.Type), args...)
		}
	}
}
