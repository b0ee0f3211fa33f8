package sdk

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Held is a change of trust that waits for a decision: a removal of roots, or a revocation list that went back.
type Held struct {
	ID       string    // what Confirm takes
	Peer     string    // the peer whose own trust it is; "" for Builder.Trust
	Since    time.Time // when it was first seen
	Deadline time.Time // when it goes into service by itself; zero: only Confirm puts it there
	Reason   string
	Lost     []string // the peers that it would cut off
}

// holds keeps changes of trust out of service that are more likely a fault than a decision: a removal that leaves
// no root of those in service, one after which the quorum could no longer be met, and a revocation list that is gone
// or older than the one in service, as after a restored backup, which would trust again what was revoked. What else the
// same bundle says, a root added to those that stay or a revocation, goes into service at once.
type holds struct {
	f *Federation

	mu       sync.Mutex
	held     map[*scope]*hold
	approved map[*scope][sha256.Size]byte // the bundle that was confirmed, or whose deadline came, until another is pulled
	closed   bool
}

type hold struct {
	Held
	scope  *scope
	bundle *bundle // as the provider gave it
	timer  *time.Timer
}

func newHolds(f *Federation) *holds {
	return &holds{f: f, held: make(map[*scope]*hold), approved: make(map[*scope][sha256.Size]byte)}
}

// admit returns what may go into service of a bundle that a provider has returned: all of it, or the part that
// needs no decision.
func (h *holds) admit(ctx context.Context, s *scope, b *bundle) *bundle {
	serving := s.serving.Load()
	if serving == nil {
		return b
	}
	var issuers []*x509.Certificate
	if len(serving.crls) > 0 {
		issuers = h.f.issuers(serving, b)
	}
	back, beside := forgotten(serving, b, b.roots, issuers)
	h.mu.Lock()
	approved, ok := h.approved[s]
	if ok = ok && approved == b.digest; !ok { // the provider has gone on: what was confirmed is not confirmed for ever
		delete(h.approved, s)
	}
	h.mu.Unlock()
	if ok {
		h.drop(s)
		return b
	}
	if len(back) == 0 && !b.removes(serving) {
		h.drop(s)
		if len(beside) > 0 {
			return merge(serving, b, b.roots, issuers)
		}
		return b
	}
	roots, kind, held, reasons := b.roots, EventKind(""), Held{}, []string(nil)
	if b.disjoint(serving) {
		roots, kind = serving.roots, EventRefused
		reasons = append(reasons, fmt.Sprintf("the new bundle has none of the %d roots in service, which is more likely a fault than a decision", len(serving.roots)))
	} else if b.removes(serving) {
		if lost, left, need := h.f.wouldLose(ctx, s, serving, b); left < need {
			roots, kind, held.Lost = append(slices.Clone(serving.roots), b.roots...), EventHeld, lost
			held.Deadline = time.Now().Add(h.f.cfg.HoldRemoval)
			reasons = append(reasons, fmt.Sprintf("without the removed roots %d nodes are left, and the quorum needs %d", left, need))
		}
	}
	for _, l := range back {
		kind, held.Deadline = EventRefused, time.Time{}
		reasons = append(reasons, fmt.Sprintf("the new bundle has no revocation list of %q, signed by it, as new as the one in service%s, and would trust again what that revokes%s", l.Issuer.String(), crlNumber(l), notEnforced(b, l)))
	}
	if kind == "" {
		h.drop(s)
		if len(beside) > 0 {
			return merge(serving, b, b.roots, issuers)
		}
		return b
	}
	held.Reason = strings.Join(reasons, "; ")
	h.hold(s, b, held, kind)
	return merge(serving, b, roots, issuers)
}

// merge returns a bundle of the given roots, the revocation lists of b, and those of serving that b has forgotten. Of two
// issues it leaves out the older only if one of issuers signed both, and no later one by its date, which a restored CA
// signs under a lower number: what revokes too much does less harm than what revokes too little.
func merge(serving, b *bundle, roots, issuers []*x509.Certificate) *bundle {
	back, beside := forgotten(serving, b, roots, issuers)
	crls := slices.Concat(back, beside)
	for _, l := range b.crls {
		signers := signersOf(l, issuers)
		if !slices.ContainsFunc(back, func(kept *x509.RevocationList) bool {
			return replaces(kept, l, signers) && !l.ThisUpdate.After(kept.ThisUpdate)
		}) {
			crls = append(crls, l)
		}
	}
	merged, err := newBundle(&TrustBundle{Roots: roots, CRLs: crls}, time.Now())
	if err != nil { // every root has expired meanwhile; nothing to be gained by keeping them
		return b
	}
	merged.life.Refresh = b.life.Refresh
	return merged
}

func (h *holds) hold(s *scope, b *bundle, held Held, kind EventKind) {
	h.mu.Lock()
	if h.closed || s.closed {
		h.mu.Unlock()
		return
	}
	if old := h.held[s]; old != nil && sameBundle(old.bundle, b) { // known, and its deadline stands
		old.Reason, old.Lost = held.Reason, held.Lost
		h.mu.Unlock()
		return
	}
	h.remove(s)
	held.ID, held.Peer, held.Since = hex.EncodeToString(b.digest[:8]), s.name, time.Now()
	entry := &hold{Held: held, scope: s, bundle: b}
	if !held.Deadline.IsZero() {
		entry.timer = time.AfterFunc(time.Until(held.Deadline), func() { h.expire(entry) })
	}
	h.held[s] = entry
	h.mu.Unlock()

	cure := "call Confirm to apply it"
	if !held.Deadline.IsZero() {
		cure += ", or wait until " + held.Deadline.Format(time.RFC3339)
	}
	if len(held.Lost) > 0 {
		held.Reason += " (lost: " + strings.Join(held.Lost, ", ") + ")"
	}
	h.f.events.emit(Event{Kind: kind, Role: RoleTrust, Peer: s.name, Detail: "change of trust " + held.ID + " is held: " + held.Reason + "; " + cure, Err: ErrMaterial})
}

// drop forgets what is held for a scope: the provider has changed its mind, or it is decided.
func (h *holds) drop(s *scope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(s)
}

// forget ends all that concerns a scope that is closed.
func (h *holds) forget(s *scope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.closed = true
	h.remove(s)
	delete(h.approved, s)
}

// vouch reports whether a bundle that is held vouches for a chain.
func (h *holds) vouch(chain []*x509.Certificate) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, held := range h.held {
		if held.bundle.vouches(chain) {
			return true
		}
	}
	return false
}

func (h *holds) remove(s *scope) {
	if old := h.held[s]; old != nil {
		if old.timer != nil {
			old.timer.Stop()
		}
		delete(h.held, s)
	}
}

// expire puts a removal into service whose deadline has come.
func (h *holds) expire(entry *hold) {
	h.mu.Lock()
	if h.closed || h.held[entry.scope] != entry {
		h.mu.Unlock()
		return
	}
	h.approved[entry.scope] = entry.bundle.digest
	h.f.background.Add(1)
	h.mu.Unlock()
	defer h.f.background.Done()
	h.f.events.emit(Event{Kind: EventConfirmed, Role: RoleTrust, Peer: entry.Peer, Detail: "change of trust " + entry.ID + " was held until its deadline and goes into service"})
	ctx, cancel := context.WithTimeout(h.f.ctx, refreshTimeout)
	defer cancel()
	_ = h.apply(ctx, entry) // a failure is an event, and the source tries again
}

// apply pulls the bundle that was approved. Refresh may join a pull that looked for the approval before it was there,
// and holds the bundle once more; the one after it sees the approval.
func (h *holds) apply(ctx context.Context, entry *hold) error {
	err := entry.scope.source.Refresh(ctx)
	h.mu.Lock()
	again := err == nil && h.held[entry.scope] == entry
	h.mu.Unlock()
	if again {
		err = entry.scope.source.Refresh(ctx)
	}
	return err
}

// Confirm puts a held change of trust into service now. id is that of the Held in Status; "" means all that
// are held. It fails with ErrNotFound if nothing such is held, and with the provider's error if the bundle
// cannot be had again; the confirmation then holds for the next time it can, unless the provider answers with another
// bundle first.
func (f *Federation) Confirm(ctx context.Context, id string) error {
	if f.isClosed() {
		return closedError("confirm")
	}
	var confirmed []*hold
	h := f.holds
	h.mu.Lock()
	for _, entry := range h.held {
		if id == "" || entry.ID == id {
			h.approved[entry.scope] = entry.bundle.digest
			confirmed = append(confirmed, entry)
		}
	}
	h.mu.Unlock()
	if len(confirmed) == 0 {
		return fmt.Errorf("sdk: confirm: no change %q is held: %w; Status().Held lists those that are", id, ErrNotFound)
	}
	var problems []error
	for _, entry := range confirmed {
		f.events.emit(Event{Kind: EventConfirmed, Role: RoleTrust, Peer: entry.Peer, Detail: "change of trust " + entry.ID + " was confirmed"})
		if err := h.apply(ctx, entry); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (h *holds) list() []Held {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Held
	for _, entry := range h.held {
		held := entry.Held
		held.Lost = slices.Clone(held.Lost)
		out = append(out, held)
	}
	slices.SortFunc(out, func(a, b Held) int { return strings.Compare(a.Peer+a.ID, b.Peer+b.ID) })
	return out
}

func (h *holds) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.held {
		h.remove(s)
	}
}

// probeTimeout bounds the handshakes that find out whether a removal of roots would cut a peer off.
const probeTimeout = 5 * time.Second

// sawChain remembers the certificates that a peer showed. Other ones than before may be what a removal waits for.
func (f *Federation) sawChain(m *member, chain []*x509.Certificate) {
	if m.sawChain(chain) && f.holds.waitFor(m.scope) {
		m.scope.source.Suspect()
	}
}

// waitFor reports whether a removal waits until its peers have other certificates.
func (h *holds) waitFor(s *scope) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.held[s]
	return held != nil && len(held.Lost) > 0
}

// wouldLose says which peers of a scope the change from serving to b would cut off, and how many nodes would be
// left of how many that the quorum needs. A peer is judged by the certificates that it showed last; if that
// leaves too few, those that seem lost are asked for the ones they have now, since a connection that has been open
// for long tells of the past.
func (f *Federation) wouldLose(ctx context.Context, s *scope, serving, b *bundle) (lost []string, left, need int) {
	st := f.state.Load()
	if st == nil {
		return nil, 1, 0
	}
	shown := make(map[*member][]*x509.Certificate)
	for _, m := range st.members {
		if chain := m.seen.Load(); m.scope == s && chain != nil {
			shown[m] = *chain
		}
	}
	doubtful := cutOff(shown, serving, b)
	if need = st.policy.Writes; 1+len(st.members)-len(doubtful) < need {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		var wg sync.WaitGroup
		var mu sync.Mutex
		slots := make(chan struct{}, checkParallel)
		for _, m := range doubtful {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				conn, err := f.transport.Dial(ctx, m.Name)
				if err != nil {
					return
				}
				defer conn.Close()
				chain := conn.ConnectionState().PeerCertificates
				m.sawChain(chain)
				// Not m.seen: a request on an old connection may have put the old chain back there.
				mu.Lock()
				defer mu.Unlock()
				shown[m] = chain
			})
		}
		wg.Wait()
		doubtful = cutOff(shown, serving, b)
	}
	for _, m := range doubtful {
		lost = append(lost, m.Name)
	}
	return lost, 1 + len(st.members) - len(doubtful), need
}

// cutOff returns the members for whose certificates serving vouches and b does not, by name.
func cutOff(shown map[*member][]*x509.Certificate, serving, b *bundle) []*member {
	var out []*member
	for m, chain := range shown {
		if serving.vouches(chain) && !b.vouches(chain) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *member) int { return strings.Compare(a.Name, b.Name) })
	return out
}
