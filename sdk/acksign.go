package sdk

import (
	"context"
	"errors"
	"sync"
	"time"

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
		if s = f.successor(ctx, s); s != nil {
			err = f.acks.sign(ctx, s.ring, acks)
		}
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
	ring *keyring
	acks []*quorum.Ack
	lead chan struct{} // closed when it is this group's turn; its first member then signs
	done chan struct{} // closed when it is signed
	err  error
}

// groupSignTimeout bounds a signature that several wait for.
const groupSignTimeout = 2 * time.Second

// sign proves the acks. The context bounds a signature that is made for them alone.
func (s *ackSigner) sign(ctx context.Context, ring *keyring, acks []*quorum.Ack) error {
	s.mu.Lock()
	if !s.signing {
		s.signing = true
		s.mu.Unlock()
		return s.make(ctx, ring, acks)
	}
	g := s.next
	first := g == nil
	if !first && (g.ring != ring || len(g.acks)+len(acks) > quorum.MaxSigned) {
		s.mu.Unlock() // a key that changes just now, or a crowd: apart from the others
		return quorum.SignAcks(ctx, ring.active, acks...)
	}
	if first {
		g = &ackGroup{ring: ring, lead: make(chan struct{}), done: make(chan struct{})}
		s.next = g
	}
	g.acks = append(g.acks, acks...)
	s.mu.Unlock()
	if first {
		<-g.lead // whoever signs now always closes it
		s.mu.Lock()
		s.next = nil
		all := g.acks
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupSignTimeout)
		g.err = s.make(ctx, ring, all)
		cancel()
		close(g.done)
	}
	<-g.done
	return g.err
}

// make signs, and passes the turn on.
func (s *ackSigner) make(ctx context.Context, ring *keyring, acks []*quorum.Ack) error {
	err := quorum.SignAcks(ctx, ring.active, acks...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next.lead)
	} else {
		s.signing = false
	}
	return err
}
