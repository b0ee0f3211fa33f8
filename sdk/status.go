package sdk

import (
	"context"
	"errors"
	"time"

	"github.com/alphaonedev/federation/internal/rotate"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// A Status is what an operator, or a metrics exporter, wants to know of a Federation at one moment. It holds no
// secret, and the values fit for labels are of few values.
type Status struct {
	ID     string
	Policy quorum.Policy
	Closed bool

	Trust    MaterialStatus
	Identity *MaterialStatus // nil: none is configured
	Key      *MaterialStatus // nil: none is configured
	// Subject, Names, NotAfter and Fingerprint are of the certificate in service; empty if there is none.
	Subject     string
	Names       []string
	NotAfter    time.Time
	Fingerprint string
	// SigningKey is the thumbprint (RFC 7638) of the key that signs; "" if messages leave unsigned.
	SigningKey string
	// Unsigned says why messages leave unsigned or not at all; "" if they are signed.
	Unsigned string

	Held       []Held   // changes of trust that wait for Confirm
	Distrusted []string // what Distrust took out of service

	Peers []PeerStatus
	// Orphans are queues for peers that left, by peer ID. They are kept until the peer returns, or
	// DropQuarantined or the store empties them.
	Orphans    map[string]OutboxStatus
	OutboxErr  error                 // why the outbox could not be asked
	Generation uint64                // of the identity that connections use
	Inbound    int                   // live connections from peers
	Draining   int                   // older generations with exchanges in flight
	Cut        uint64                // live connections closed because trust changed
	Denied     map[signer.Tag]uint64 // refused inbound requests, by tag
	EventsLost uint64                // events that OnEvent was too slow for
}

// A MaterialStatus is the state of what a provider gives.
type MaterialStatus struct {
	// State is "fresh", "failing" (valid, but the last attempt failed), "stale" (long past due), "expired",
	// "empty" (nothing yet) or "closed".
	State       string
	Generation  uint64    // counts changes; 1 is the first material
	Since       time.Time // when this generation went into service
	LastAttempt time.Time
	LastSuccess time.Time
	Next        time.Time // when the provider is asked next
	Expires     time.Time // zero: never
	Failures    int       // attempts that failed in a row
	Err         error     // of the last attempt
	Partial     error     // of trust: why part of what the last success brought is not fresh; see TrustBundle.Partial
	// Watch is "watching", "polling" or "waiting" (for a watch that ended to be started again).
	Watch string
}

// A PeerStatus is what is known of one peer.
type PeerStatus struct {
	Name      string
	ID        string
	URL       string
	Wire      signer.Wire
	Trust     *MaterialStatus       // of Peer.Trust; nil: Builder.Trust vouches for it
	NotAfter  time.Time             // of the certificate that it showed last; zero: none seen yet
	LastHeard time.Time             // when it last answered or sent something with a time; zero: never
	ClockSkew time.Duration         // how far its clock is ahead of ours
	Denied    map[signer.Tag]uint64 // its refused requests, by tag
	Outbox    OutboxStatus
	Transport transport.PeerStats
}

// An OutboxStatus is what waits for one peer.
type OutboxStatus struct {
	Depth       int           // messages that wait
	Bytes       int64         // of their bodies, and of those set aside
	Age         time.Duration // of the message that has waited longest
	Quarantined int           // messages set aside
	Sending     int           // requests with pushes on their way
	Replaying   bool          // what waits is being sent, or tried again from time to time
	Width       int           // batches of a replay on their way at once
	Failures    int           // requests that failed in a row; from 3 on the peer counts as down
	LastError   string        // of the last of these; without one, why the peer, which answers, does not take a message that waits
}

// Status returns what is going on now. It asks nobody but the outbox, and waits for nothing else.
func (f *Federation) Status() Status {
	state := f.state.Load()
	stats := f.transport.Stats()
	s := Status{
		ID:         f.ID(),
		Policy:     state.policy,
		Closed:     f.isClosed(),
		Trust:      f.global.status(),
		Held:       f.holds.list(),
		Distrusted: f.distrustedTexts(),
		Generation: stats.Generation,
		Inbound:    stats.Inbound,
		Draining:   stats.Draining,
		Cut:        stats.Cut,
		Denied:     f.denied.copy(),
		EventsLost: f.events.lost(),
	}
	if f.identity != nil {
		m := materialStatus(f.identity.Status())
		s.Identity = &m
	}
	if i := f.serving.Load(); i != nil {
		s.Subject, s.Names, s.NotAfter, s.Fingerprint = i.leaf().Subject.String(), i.names(), i.leaf().NotAfter, Fingerprint(i.leaf())
	}
	f.keyStatus(&s)

	counters := make(map[string]transport.PeerStats, len(stats.Peers))
	for _, p := range stats.Peers {
		counters[p.Name] = p
	}
	queues := f.queues(&s)
	for _, m := range state.members {
		p := PeerStatus{
			Name: m.Name, ID: m.ID, URL: m.URL, Wire: m.Wire,
			ClockSkew: time.Duration(m.skew.Load()),
			Denied:    m.denials.copy(),
			Outbox:    queues[m.ID],
			Transport: counters[m.Name],
		}
		if m.scope != f.global {
			t := m.scope.status()
			p.Trust = &t
		}
		if chain := m.seen.Load(); chain != nil {
			p.NotAfter = (*chain)[0].NotAfter
		}
		if at := m.heard.Load(); at != 0 {
			p.LastHeard = time.Unix(0, at)
		}
		s.Peers = append(s.Peers, p)
	}
	return s
}

// statusTimeout bounds how long Status waits for an outbox that is not at hand.
const statusTimeout = time.Second

// queues returns the state of the outbox by peer ID, and notes those of peers that left.
func (f *Federation) queues(s *Status) map[string]OutboxStatus {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	stats, err := f.delivery.store.Stats(ctx)
	s.OutboxErr = err
	queues := f.delivery.status()
	for _, q := range stats {
		o := queues[q.Peer]
		o.Depth, o.Bytes, o.Quarantined = q.Depth, q.Bytes, q.Quarantined
		if !q.Oldest.IsZero() {
			o.Age = time.Since(q.Oldest)
		}
		queues[q.Peer] = o
		if f.state.Load().byID[q.Peer] == nil {
			if s.Orphans == nil {
				s.Orphans = make(map[string]OutboxStatus)
			}
			s.Orphans[q.Peer] = o
		}
	}
	return queues
}

func (f *Federation) keyStatus(s *Status) {
	if f.keys == nil {
		s.Unsigned = "no Key is configured"
		return
	}
	status := f.keys.Status()
	m := materialStatus(status)
	s.Key = &m
	switch ring := f.ring(); {
	case ring != nil:
		s.SigningKey = signer.Thumbprint(ring.public)
	case errors.Is(status.LastError, ErrNotFound):
		s.Unsigned = "no key is enrolled"
	default:
		s.Unsigned = "the key cannot be loaded; strict peers refuse what is unsigned"
	}
}

func materialStatus(s rotate.Status) MaterialStatus {
	return MaterialStatus{
		State: string(s.State), Generation: s.Generation, Since: s.Since,
		LastAttempt: s.LastAttempt, LastSuccess: s.LastSuccess, Next: s.Next, Expires: s.Expires,
		Failures: s.Failures, Err: s.LastError, Watch: string(s.Watch),
	}
}
