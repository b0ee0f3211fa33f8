package sdk

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/alphaonedev/federation/internal/rotate"
)

// A scope is one TrustProvider with what it vouches for: every peer without a provider of its own, or the
// peers that name this one.
type scope struct {
	name     string // of the peer that brought the provider; "" for Builder.Trust
	provider TrustProvider
	source   *rotate.Source[*bundle]

	serving atomic.Pointer[bundle]
	partial atomic.Pointer[error] // why part of the latest bundle is not fresh; nil if all is
	closed  bool                  // guarded by holds.mu
}

// startScope asks the provider until it has answered once.
func (f *Federation) startScope(ctx context.Context, name string, p TrustProvider) (*scope, error) {
	s := &scope{name: name, provider: p}
	cfg := rotate.Config[*bundle]{
		Role: RoleTrust,
		Poll: true,
		Pull: func(ctx context.Context) (*bundle, error) {
			b, err := pullBundle(ctx, p)
			if err != nil {
				return nil, err
			}
			if ctx.Err() == nil { // else the answer comes too late to count
				f.tellPartial(s, b.partial)
			}
			return f.holds.admit(ctx, s, b), nil
		},
		Watch: watchOf(p),
		Equal: sameBundle,
		Life:  func(b *bundle) rotate.Life { return b.life },
		OnChange: func(_, b *bundle) {
			s.serving.Store(b)
			f.apply(RoleTrust)
			f.lookAtStranded()
		},
		OnEvent: func(e rotate.Event) { f.events.emit(materialEvent(e, name)) },
	}
	source, err := rotate.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.source = source
	if b, ok := source.Current(); ok {
		s.serving.CompareAndSwap(nil, b) // a change since has gone through OnChange
	}
	return s, nil
}

// tellPartial notes whether all of the latest bundle is fresh, and says so when that changes.
func (f *Federation) tellPartial(s *scope, err error) {
	before := s.why()
	switch {
	case err != nil:
		s.partial.Store(&err)
		if before == nil {
			f.events.emit(Event{Kind: EventFailed, Role: RoleTrust, Peer: s.name, Detail: "part of the bundle is not fresh", Err: err})
		}
	case before != nil:
		s.partial.Store(nil)
		f.events.emit(Event{Kind: EventRecovered, Role: RoleTrust, Peer: s.name, Detail: "all of the bundle is fresh again"})
	}
}

// why says why part of the latest bundle is not fresh.
func (s *scope) why() error {
	if p := s.partial.Load(); p != nil {
		return *p
	}
	return nil
}

// status is the state of the scope's material.
func (s *scope) status() MaterialStatus {
	m := materialStatus(s.source.Status())
	m.Partial = s.why()
	return m
}

// watchOf returns the provider's Watch, or nil if it has none.
func watchOf(p any) func(context.Context, func()) error {
	if w, ok := p.(Watcher); ok {
		return w.Watch
	}
	return nil
}

// scopesFor starts a source for every provider among the peers that has none yet, all at once. It returns the
// scope of each peer and those that it started.
func (f *Federation) scopesFor(ctx context.Context, peers []Peer, existing []*member) (of, started []*scope, err error) {
	type slot struct {
		scope *scope
		err   error
		first int // index of the peer that brought the provider
	}
	known := make(map[any]*scope)
	know := func(s *scope) {
		if hashable(s.provider) {
			known[s.provider] = s
		}
	}
	know(f.global)
	for _, m := range existing {
		know(m.scope)
	}
	pending := make(map[any]*slot)
	slots := make([]*slot, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		if p.Trust == nil {
			slots[i] = &slot{scope: f.global, first: -1}
			continue
		}
		if hashable(p.Trust) {
			if s := known[p.Trust]; s != nil {
				slots[i] = &slot{scope: s, first: -1}
				continue
			}
			if s := pending[p.Trust]; s != nil {
				slots[i] = s
				continue
			}
		}
		s := &slot{first: i}
		slots[i] = s
		if hashable(p.Trust) {
			pending[p.Trust] = s
		}
		wg.Go(func() { s.scope, s.err = f.startScope(ctx, p.Name, p.Trust) })
	}
	wg.Wait()
	of = make([]*scope, len(peers))
	var problems []error
	for i, s := range slots {
		switch {
		case s.err == nil:
			of[i] = s.scope
			if s.first == i {
				started = append(started, s.scope)
			}
		case s.first == i:
			problems = append(problems, &ConfigError{Field: fmt.Sprintf("Peers[%d].Trust", i), Err: s.err})
		}
	}
	if len(problems) > 0 {
		for _, s := range started {
			f.closeScope(s)
		}
		return nil, nil, errors.Join(problems...)
	}
	return of, started, nil
}

// hashable reports whether a provider can be the key of a map. One that is a function cannot.
func hashable(p TrustProvider) bool { return reflect.ValueOf(p).Comparable() }

// closeUnused closes the scopes of before that no member of after has.
func (f *Federation) closeUnused(before, after []*member) {
	closed := []*scope{f.global}
	for _, m := range before {
		if slices.Contains(closed, m.scope) {
			continue
		}
		if !slices.ContainsFunc(after, func(n *member) bool { return n.scope == m.scope }) {
			closed = append(closed, m.scope)
			f.closeScope(m.scope)
		}
	}
}

// closeScope ends a scope, and what is held or was confirmed for it.
func (f *Federation) closeScope(s *scope) {
	s.source.Close()
	f.holds.forget(s)
}

// vouches reports whether the bundle, ignoring its revocations, vouches for a chain.
func (b *bundle) vouches(chain []*x509.Certificate) bool {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range b.roots {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}
