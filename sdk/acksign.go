package sdk

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/alphaonedev/federation/sdk/quorum"
)

// signAcks proves acks with this node's key. Without a key it leaves them as they are; that is an error where
// a key is required.
func (f *Federation) signAcks(ctx context.Context, acks ...*quorum.Ack) error {
	if f.ring() == nil {
		if f.keys != nil && f.cfg.Signing == SignRequired {
			return errNoKey
		}
		return nil
	}
	s := f.signing.Load()
	err := f.acks.sign(ctx, s.ring, acks)
	if errors.Is(err, ErrExpired) {
		err = f.signAnew(ctx, s, err, func(s *signing) error { return f.acks.sign(ctx, s.ring, acks) })
	}
	return err
}

// An ackSigner signs acks. While one signature is being made those that ask for another gather, and share the
// next: the time of a signature bounds the rate of signatures, not that of acks.
type ackSigner struct {
	mu      sync.Mutex
	signing bool
	next    *ackGroup
}

type ackGroup struct {
	ring    *keyring
	acks    []*quorum.Ack // copies, for a member that gives up takes its own away
	members int           // that have not given up
	turn    chan struct{} // capacity 1; the member that takes it signs for all
	done    chan struct{} // closed when that has come to something
	err     error
	again   bool // the member that signed gave up, which is no answer for the others
}

// sign proves the acks, within ctx.
func (s *ackSigner) sign(ctx context.Context, ring *keyring, acks []*quorum.Ack) error {
	for {
		s.mu.Lock()
		if !s.signing {
			s.signing = true
			s.mu.Unlock()
			return s.make(ctx, ring, acks)
		}
		g := s.next
		if g != nil && (g.ring != ring || len(g.acks)+len(acks) > quorum.MaxSigned) {
			s.mu.Unlock() // a key that changes just now, or a crowd: apart from the others
			return signAcks(ctx, ring, acks)
		}
		if g == nil {
			g = &ackGroup{ring: ring, turn: make(chan struct{}, 1), done: make(chan struct{})}
			s.next = g
		}
		first := len(g.acks)
		for _, a := range acks {
			own := *a
			g.acks = append(g.acks, &own)
		}
		g.members++
		s.mu.Unlock()

		select {
		case <-g.turn:
			s.mu.Lock()
			s.next = nil // from here on nobody joins
			s.mu.Unlock()
			g.err = s.make(ctx, ring, g.acks)
			g.again = ctx.Err() != nil
			close(g.done)
		case <-g.done:
		case <-ctx.Done():
			s.leave(g)
			return ctx.Err()
		}
		if g.err == nil {
			for i, a := range acks {
				a.Proof = g.acks[first+i].Proof
			}
			return nil
		}
		if !g.again || ctx.Err() != nil {
			return g.err
		}
	}
}

// make signs, and passes the turn on.
func (s *ackSigner) make(ctx context.Context, ring *keyring, acks []*quorum.Ack) error {
	err := signAcks(ctx, ring, acks)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		s.next.turn <- struct{}{}
	} else {
		s.signing = false
	}
	return err
}

// leave takes a member out of a group. Where it was the last the group is dropped, with the turn if it has come.
func (s *ackSigner) leave(g *ackGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.members--; g.members > 0 || s.next != g {
		return
	}
	s.next = nil
	select {
	case <-g.turn:
		s.signing = false
	default:
	}
}

// signAcks is quorum.SignAcks for keys that may panic: others wait for their turn.
func signAcks(ctx context.Context, ring *keyring, acks []*quorum.Ack) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the signing key panicked: %.200v: %w", p, ErrMaterial)
		}
	}()
	return quorum.SignAcks(ctx, ring.active, acks...)
}
