package sdk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
)

// An Inbound is the application's side of Federation.Handler. Its functions may be called concurrently.
type Inbound struct {
	// Apply takes one message. It returns Applied or Noop once the message is where it survives what the
	// application promises to survive, and the node then signs an ack of it. An error refuses the message:
	// for now, so that the peer tries again, unless it is a *Rejection that says for good. Only a
	// Rejection's Reason is told to the peer.
	//
	// The messages of one batch come one after the other, in the order in which the peer recorded them. A
	// message comes once for as long as this process remembers it, and again after a restart if the peer
	// missed the ack: an application to which that matters keeps the operation id with its data, in one
	// transaction, and answers Noop to one that it has. The context ends with the request. A panic refuses
	// the message for now. nil refuses all pushes.
	Apply func(ctx context.Context, d Delivery) (quorum.Verdict, error)
	// Pull hands out a page of what the application has. nil refuses all pulls.
	Pull func(ctx context.Context, q PullQuery) (Page, error)
	// Remember is how many acks are kept for each peer, to answer repeated messages. Default 16,384, which
	// takes about 8 MiB.
	Remember int
}

const defaultRemember = 16384

// A Delivery is a message that arrived, verified and authorised.
type Delivery struct {
	Message                  // its Body may be kept and must not be changed
	Peer       Peer          // who sent it
	Digest     quorum.Digest // of Body
	Created    time.Time     // when it was pushed, by the clock of the sender; zero on the ai-memory wire
	SenderName string        // what the sender calls itself
}

// A Rejection is an error of Inbound.Apply that says more than "not now".
type Rejection struct {
	// Reason is told to the peer, cut to 256 bytes. It must hold nothing that the peer may not know.
	Reason string
	// Permanent says that the peer will not have success with this message later either. It tries some
	// more times all the same, rarely, and then sets the message aside.
	Permanent bool
	// Err goes to the log alone.
	Err error
}

// Permanent returns a Rejection for good.
func Permanent(reason string) error { return &Rejection{Reason: reason, Permanent: true} }

// Temporary returns a Rejection for now.
func Temporary(reason string) error { return &Rejection{Reason: reason} }

func (r *Rejection) Error() string {
	if r == nil {
		return "rejected for now"
	}
	s := "rejected for now"
	if r.Permanent {
		s = "rejected"
	}
	if r.Reason != "" {
		s += ": " + r.Reason
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

func (r *Rejection) Unwrap() error {
	if r == nil {
		return nil
	}
	return r.Err
}

// apply hands a message to the application and answers for it when it panics.
func (h *handler) apply(ctx context.Context, d Delivery) (verdict quorum.Verdict, err error) {
	fault := func(what string) error {
		h.f.events.emit(Event{Kind: EventReceived, Peer: d.Peer.Name, Detail: what + " over operation " + d.Operation})
		return errors.New(what)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fault(fmt.Sprintf("the application panicked (%.200v)", p))
		}
	}()
	verdict, err = h.in.Apply(ctx, d)
	if err == nil && verdict != Applied && verdict != Noop {
		err = fault(fmt.Sprintf("the application answered %v, which is neither Applied nor Noop,", verdict))
	}
	return verdict, err
}

// replyTo makes the answer to a message that was not applied.
func replyTo(err error) wireReply {
	var r *Rejection
	switch {
	case !errors.As(err, &r) || r == nil:
		return wireReply{state: stateTemporary, reason: "not taken"}
	case r.Permanent:
		return wireReply{state: statePermanent, reason: r.Reason}
	default:
		return wireReply{state: stateTemporary, reason: r.Reason}
	}
}
