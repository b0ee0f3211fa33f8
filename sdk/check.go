package sdk

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alphaonedev/federation/signer"
)

// checkParallel bounds the peers that Check talks to at once.
const checkParallel = 32

// soon is how close to its end a certificate is worth a warning.
const soon = 24 * time.Hour

// A Report is what Check found.
type Report struct {
	Problems []Problem // what fails now
	Warnings []Problem // what works now and may not for long
}

// OK reports whether nothing fails.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// Err returns the problems as one error, nil if there are none.
func (r Report) Err() error {
	var errs []error
	for _, p := range r.Problems {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// A Problem is one thing that fails, or will.
type Problem struct {
	Field string // of the Builder: "Trust", "Identity", "Key", "Peers", "Quorum"
	Peer  string // the name of the peer concerned, if any
	Err   error  // what was found, and the cure
}

func (p Problem) Error() string {
	if p.Peer == "" {
		return p.Field + ": " + p.Err.Error()
	}
	return p.Field + ": " + p.Peer + ": " + p.Err.Error()
}

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// Check is a dry run: it says what would fail. It looks at the material in service, handshakes with every peer
// and fetches its signing keys, and sends no message. It asks no provider, and so enrols and renews nothing. ctx
// bounds it.
func (f *Federation) Check(ctx context.Context) Report {
	var r Report
	if f.isClosed() {
		r.Problems = append(r.Problems, Problem{Field: "Federation", Err: closedError("check")})
		return r
	}
	f.checkMaterial(&r)
	state := f.state.Load()
	checkNames(&r, state.members)
	errs := make([][]Problem, len(state.members))
	warnings := make([][]Problem, len(state.members))
	slots := make(chan struct{}, checkParallel)
	var wg sync.WaitGroup
	for i, m := range state.members {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i], warnings[i] = f.checkPeer(ctx, m)
		})
	}
	wg.Wait()
	reachable := 1
	for i := range state.members {
		if len(errs[i]) == 0 {
			reachable++
		}
		r.Problems = append(r.Problems, errs[i]...)
		r.Warnings = append(r.Warnings, warnings[i]...)
	}
	if need := state.policy.Writes; reachable < need {
		r.Problems = append(r.Problems, Problem{Field: "Quorum", Err: fmt.Errorf("%d of the %d nodes that a write needs can be reached, this one among them; bring peers back, or lower Quorum.Writes", reachable, need)})
	}
	return r
}

func (f *Federation) checkMaterial(r *Report) {
	now := time.Now()
	problem := func(field string, err error) { r.Problems = append(r.Problems, Problem{Field: field, Err: err}) }
	warn := func(field string, err error) { r.Warnings = append(r.Warnings, Problem{Field: field, Err: err}) }

	for _, c := range []struct {
		field    string
		provider any
	}{{"Trust", f.cfg.Trust}, {"Identity", f.cfg.Identity}, {"Key", f.cfg.Key}} {
		if c.provider != nil {
			if err := validateProvider(c.provider); err != nil {
				problem(c.field, err)
			}
		}
	}
	for _, s := range f.scopes() {
		warn := func(err error) { r.Warnings = append(r.Warnings, Problem{Field: "Trust", Peer: s.name, Err: err}) }
		if st := s.source.Status(); st.LastError != nil {
			warn(fmt.Errorf("the last refresh failed: %w", st.LastError))
		} else if err := s.why(); err != nil {
			warn(fmt.Errorf("part of the bundle is not fresh: %w", err))
		}
		for _, c := range s.serving.Load().roots {
			if now.After(c.NotAfter) {
				warn(fmt.Errorf("root %q ended at %s; remove it", c.Subject, c.NotAfter.Format(time.RFC3339)))
			}
		}
	}
	if i := f.serving.Load(); i != nil {
		leaf := i.leaf()
		switch left := leaf.NotAfter.Sub(now); {
		case left <= 0:
			problem("Identity", fmt.Errorf("the certificate ended at %s: %w; renew it", leaf.NotAfter.Format(time.RFC3339), ErrExpired))
		case left < soon && left < leaf.NotAfter.Sub(leaf.NotBefore)/3:
			warn("Identity", fmt.Errorf("the certificate ends in %v and was not renewed", left.Round(time.Minute)))
		}
		if !mayBe(leaf, x509.ExtKeyUsageServerAuth) {
			warn("Identity", errors.New("the certificate has extended key usages without serverAuth, so no peer can call this node; issue it with both"))
		}
		if st := f.identity.Status(); st.LastError != nil {
			warn("Identity", fmt.Errorf("the last refresh failed: %w", st.LastError))
		}
	}
	if f.keys != nil {
		why := f.keyTrouble()
		switch {
		case why == nil: // a key is in service, or just about to be
		case f.ring() == nil && f.cfg.Signing == SignRequired:
			problem("Key", fmt.Errorf("there is no signing key: %w", why))
		case f.ring() == nil:
			warn("Key", fmt.Errorf("messages leave unsigned, and strict peers refuse them: %w", why))
		default:
			warn("Key", why)
		}
	}
}

// checkNames warns of peers that can be called and cannot call, because one certificate is that of two of them.
func checkNames(r *Report, members []*member) {
	type claim struct {
		scope *scope
		name  string
	}
	first := make(map[claim]*member)
	for _, m := range members {
		if len(m.SPKIPins) > 0 || isPlaintext(m.URL) {
			continue
		}
		names := m.IDs
		if len(names) == 0 {
			names = []string{m.ServerName}
		}
		for _, name := range names {
			if other := first[claim{m.scope, name}]; other != nil {
				r.Warnings = append(r.Warnings, Problem{Field: "Peers", Peer: m.Name, Err: fmt.Errorf("is known by the certificate name %s, as %s is, so that what either sends is refused: nobody could tell them apart; give each IDs or SPKIPins of its own", name, other.Name)})
				continue
			}
			first[claim{m.scope, name}] = m
		}
	}
}

// checkPeer handshakes with a peer and fetches its keys.
func (f *Federation) checkPeer(ctx context.Context, m *member) (problems, warnings []Problem) {
	if isPlaintext(m.URL) {
		return nil, []Problem{{Field: "Peers", Peer: m.Name, Err: errors.New("has an http URL: nothing authenticates it; use https")}}
	}
	conn, err := f.transport.Dial(ctx, m.Name)
	if err != nil {
		return []Problem{{Field: "Peers", Peer: m.Name, Err: err}}, nil
	}
	leaf := conn.ConnectionState().PeerCertificates[0]
	m.sawChain(conn.ConnectionState().PeerCertificates)
	conn.Close()
	if left := time.Until(leaf.NotAfter); left < soon && left < leaf.NotAfter.Sub(leaf.NotBefore)/3 {
		warnings = append(warnings, Problem{Field: "Peers", Peer: m.Name, Err: fmt.Errorf("its certificate ends in %v", left.Round(time.Minute))})
	}
	if f.keys != nil && len(m.Keys) == 0 && m.Wire == signer.WireFederation {
		if err := f.directory.Refresh(ctx, m.Name); err != nil {
			problems = append(problems, Problem{Field: "Peers", Peer: m.Name, Err: fmt.Errorf("its signing keys cannot be fetched, so nothing it sends is accepted: %w", err)})
		}
	}
	return problems, warnings
}
