package sdk

import (
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

	Held       []Held   // removals of roots that wait for Confirm
	Distrusted []string // what Distrust took out of service

	Peers      []PeerStatus
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
	Transport transport.PeerStats
}

// Status returns what is going on now. It asks nobody and waits for nothing.
func (f *Federation) Status() Status {
	state := f.state.Load()
	stats := f.transport.Stats()
	s := Status{
		ID:         f.cfg.ID,
		Policy:     state.policy,
		Closed:     f.isClosed(),
		Trust:      materialStatus(f.global.source.Status()),
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
	for _, m := range state.members {
		p := PeerStatus{
			Name: m.Name, ID: m.ID, URL: m.URL, Wire: m.Wire,
			ClockSkew: time.Duration(m.skew.Load()),
			Denied:    m.denials.copy(),
			Transport: counters[m.Name],
		}
		if m.scope != f.global {
			t := materialStatus(m.scope.source.Status())
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
