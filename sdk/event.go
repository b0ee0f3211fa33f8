package sdk

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// An EventKind is one of the things that happen to a Federation. The set grows with the module and is
// otherwise closed, so that it can label a metric.
type EventKind string

// The kinds of events.
const (
	// Of material: Role says which, Peer whose if it is a peer's own trust.
	EventChanged   EventKind = "changed"    // new material is in service
	EventRefused   EventKind = "refused"    // new material was kept out of service; the last good stays
	EventFailed    EventKind = "failed"     // a provider failed; the last good stays
	EventRecovered EventKind = "recovered"  // a provider works again
	EventStale     EventKind = "stale"      // long past due and not renewed
	EventExpired   EventKind = "expired"    // what is in service has ended
	EventWatchLost EventKind = "watch-lost" // a watch ended; changes are seen by polling until it is back
	EventHeld      EventKind = "held"       // a removal of roots waits for Confirm or its deadline
	EventConfirmed EventKind = "confirmed"  // a held removal went into service

	// Of connections.
	EventConnection EventKind = "connection" // a connection was cut, a generation replaced, a request repeated: see Detail

	// Of the list of peers and of what they send.
	EventPeers       EventKind = "peers"        // SetPeers replaced the list
	EventDistrusted  EventKind = "distrusted"   // Distrust took something out of service
	EventUnsigned    EventKind = "unsigned"     // messages leave unsigned; strict peers will refuse them
	EventDenied      EventKind = "denied"       // a peer's request was refused; Detail is the tag
	EventClockSkew   EventKind = "clock-skew"   // a peer's clock differs by more than Policy.ClockSkewWarn
	EventKeyConflict EventKind = "key-conflict" // two peers claim one signing key; neither may use it
)

// An Event is one thing that happened. Its strings hold no secret, and Kind, Role and Peer are of few values.
type Event struct {
	Time       time.Time
	Kind       EventKind
	Role       Role   // for events of material
	Peer       string // the name of the peer concerned, if any
	Generation uint64 // for events of material: which is in service
	Detail     string // what exactly, for people and logs
	Err        error  // why, if something failed
}

func (e Event) level() hclog.Level {
	switch e.Kind {
	case EventChanged, EventRecovered, EventConfirmed, EventPeers:
		return hclog.Info
	case EventExpired, EventKeyConflict:
		return hclog.Error
	case EventConnection:
		return hclog.Debug
	}
	return hclog.Warn
}

// maxQueuedEvents bounds the events that wait for a slow OnEvent.
const maxQueuedEvents = 1024

// events logs what happens at once, and hands it to OnEvent in order from one goroutine, so that a callback
// may call the Federation and a slow one stops nothing.
type events struct {
	log     hclog.Logger
	handler func(Event)

	mu      sync.Mutex
	queue   []Event
	dropped uint64
	closed  bool
	wake    chan struct{}
	done    chan struct{}
}

func newEvents(log hclog.Logger, handler func(Event)) *events {
	e := &events{log: log, handler: handler, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if handler == nil {
		close(e.done)
	} else {
		go e.run()
	}
	return e
}

func (e *events) emit(ev Event) {
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	e.logEvent(ev)
	if e.handler == nil {
		return
	}
	e.mu.Lock()
	switch {
	case e.closed:
	case len(e.queue) >= maxQueuedEvents:
		e.dropped++
	default:
		e.queue = append(e.queue, ev)
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *events) logEvent(ev Event) {
	level := ev.level()
	if !enabled(e.log, level) {
		return
	}
	args := []any{"kind", string(ev.Kind)}
	if ev.Role != "" {
		args = append(args, "role", string(ev.Role))
	}
	if ev.Peer != "" {
		args = append(args, "peer", ev.Peer)
	}
	if ev.Generation != 0 {
		args = append(args, "generation", ev.Generation)
	}
	if ev.Err != nil {
		args = append(args, "error", ev.Err.Error())
	}
	message := ev.Detail
	if message == "" {
		message = string(ev.Kind)
	}
	e.log.Log(level, message, args...)
}

func enabled(log hclog.Logger, level hclog.Level) bool {
	current := log.GetLevel()
	return current == hclog.NoLevel || current <= level
}

func (e *events) run() {
	defer close(e.done)
	for range e.wake {
		for {
			e.mu.Lock()
			if len(e.queue) == 0 {
				closed := e.closed
				e.queue = nil
				e.mu.Unlock()
				if closed {
					return
				}
				break
			}
			ev := e.queue[0]
			e.queue = e.queue[1:]
			e.mu.Unlock()
			e.handler(ev)
		}
	}
}

// lost is the number of events that OnEvent never saw because it was too slow.
func (e *events) lost() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dropped
}

// close delivers what is queued and waits for OnEvent to return.
func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	<-e.done
}
