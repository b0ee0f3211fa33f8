package stepca

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/signer"
)

// A dated is a certified signing key and when it starts to sign.
type dated struct {
	*held
	from time.Time
}

// A keyFlow keeps a node's signing keys: one signs, a younger one may wait, older ones may linger.
type keyFlow struct {
	c    *Client
	cfg  KeyConfig
	path string // of the state file; empty: none

	gate   chan struct{} // held while current runs; waiting for it honours the context
	loaded bool
	aside  error     // why the state file could not be used
	keys   []dated   // oldest first
	due    time.Time // when to certify another
	served bool      // something has been returned
}

func (f *keyFlow) current(ctx context.Context) (*sdk.KeySet, error) {
	select {
	case f.gate <- struct{}{}:
		defer func() { <-f.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := f.c.ready(ctx); err != nil {
		return nil, err
	}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	now := f.c.now()
	changed := f.prune(now)
	active := f.active(now)
	if active < 0 && len(f.keys) > 0 { // the one that waited must step in
		f.keys[0].from, active, changed = now, 0, true
	}
	if active < 0 || active == len(f.keys)-1 && !now.Before(f.due) {
		if err := f.add(ctx, active); err != nil {
			if active >= 0 && !f.served && ctx.Err() == nil {
				f.served = true
				f.c.log.Warn("the signing key is due and no other can be certified; starting with it",
					"until", f.keys[active].leaf().NotAfter, "error", err)
				set, serr := f.set(active, now)
				if serr == nil {
					set.RefreshAfter = soon
				}
				return set, serr
			}
			return nil, err
		}
		changed = true
		now = f.c.now()
		active = f.active(now)
	}
	if changed {
		if err := f.save(); err != nil {
			f.c.log.Error("the signing keys could not be stored; a restart certifies another", "file", f.path, "error", err)
		}
	}
	if active < 0 {
		return nil, fmt.Errorf("%w: the signing key ended before it could be used; compare the clocks, and the provisioner's lifetimes", fault.ErrExpired)
	}
	f.served = true
	return f.set(active, now)
}

// prune forgets keys whose certificate has ended, and those that another replaced longer than Overlap ago.
func (f *keyFlow) prune(now time.Time) (changed bool) {
	n := len(f.keys)
	kept := f.keys[:0:0]
	for i, k := range f.keys {
		ended := !now.Before(k.leaf().NotAfter)
		replaced := i+1 < n && now.After(f.keys[i+1].from.Add(f.cfg.Overlap))
		if !ended && !replaced {
			kept = append(kept, k)
		}
	}
	f.keys = kept
	return len(kept) != n
}

// active is the index of the key that signs; -1: none.
func (f *keyFlow) active(now time.Time) int {
	for i := len(f.keys) - 1; i >= 0; i-- {
		if k := f.keys[i]; !now.Before(k.from) && now.Before(k.leaf().NotAfter) {
			return i
		}
	}
	return -1
}

// add certifies a new key, which waits for Lead while another signs.
func (f *keyFlow) add(ctx context.Context, active int) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	chain, err := f.cfg.Enrolment.enrol(ctx, f.c, request{
		subject: f.cfg.Names[0], names: f.cfg.Names, key: key, lifetime: f.cfg.Lifetime,
	})
	if err != nil {
		if f.aside != nil {
			err = fmt.Errorf("stored keys cannot be used (%w): %w", f.aside, err)
		}
		return fmt.Errorf("certifying a signing key: %w", err)
	}
	if chain, err = f.check(ctx, chain, key.Public().(ed25519.PublicKey)); err != nil {
		return fmt.Errorf("certifying a signing key: %w", err)
	}
	if err := f.c.usableNow(chain[0]); err != nil {
		return err
	}
	from := f.c.now()
	if active >= 0 {
		// Where little of the old certificate is left, the lead is half of it.
		from = from.Add(min(f.cfg.Lead, f.keys[active].leaf().NotAfter.Sub(from)/2))
	}
	f.hold(append(f.keys, dated{&held{key: key, chain: chain}, from}))
	f.due = freshDueAt(chain[0], f.c.now())
	return nil
}

// hold takes keys; the youngest decides when another is due.
func (f *keyFlow) hold(keys []dated) {
	f.keys = keys
	if len(keys) > 0 {
		f.due = dueAt(keys[len(keys)-1].leaf())
	}
}

// check holds a certificate against the CA's roots and against what a signing key may have.
func (f *keyFlow) check(ctx context.Context, chain []*x509.Certificate, pub ed25519.PublicKey) ([]*x509.Certificate, error) {
	if err := signsOnly(chain[0]); err != nil {
		return nil, err
	}
	return f.c.checkIssued(ctx, chain, pub, f.cfg.Names, x509.ExtKeyUsageAny)
}

// signsOnly refuses a certificate that could be used in TLS: one that says so, or that limits nothing.
func signsOnly(leaf *x509.Certificate) error {
	const cure = "give the provisioner a template with `\"keyUsage\": [\"digitalSignature\"], \"unknownExtKeyUsage\": [\"1.3.6.1.5.5.7.3.36\"]` " +
		"and no `extKeyUsage`"
	if _, ok := leaf.PublicKey.(ed25519.PublicKey); !ok {
		return fmt.Errorf("%w: the certificate is for a key of type %T, want Ed25519", fault.ErrMaterial, leaf.PublicKey)
	}
	for _, u := range leaf.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageAny, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth:
			return fmt.Errorf("%w: the certificate for the signing key could be used in TLS; %s", fault.ErrMaterial, cure)
		}
	}
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return fmt.Errorf("%w: the certificate for the signing key limits no usage, so it could be used in TLS; %s", fault.ErrMaterial, cure)
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("%w: the certificate for the signing key does not allow signatures; %s", fault.ErrMaterial, cure)
	}
	return nil
}

// set is what the keys are at now, and when that changes.
func (f *keyFlow) set(active int, now time.Time) (*sdk.KeySet, error) {
	key, err := signer.KeyOf(f.keys[active].key)
	if err != nil {
		return nil, err
	}
	out := &sdk.KeySet{Active: key}
	next := f.due
	if active < len(f.keys)-1 {
		next = f.keys[active+1].from // the next has been certified already
	}
	for i, k := range f.keys {
		out.Chains = append(out.Chains, slices.Clone(k.chain))
		if i != active {
			out.Published = append(out.Published, k.leaf().PublicKey)
		}
		if i < active {
			next = earlier(next, k.leaf().NotAfter, f.keys[i+1].from.Add(f.cfg.Overlap+time.Second))
		}
	}
	out.RefreshAfter = max(next.Sub(now), time.Second)
	return out, nil
}

func earlier(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if o.Before(t) {
			t = o
		}
	}
	return t
}

// load looks for keys in the state file, once, as certFlow does.
func (f *keyFlow) load(ctx context.Context) error {
	if f.loaded || f.path == "" {
		return nil
	}
	s, err := readState(f.path)
	if err != nil && !errors.Is(err, fault.ErrMaterial) {
		return unreadable(err)
	}
	var keys []dated
	if err == nil && s != nil {
		if keys, err = f.decode(ctx, s); err != nil && !errors.Is(err, fault.ErrMaterial) {
			return err
		}
	}
	f.loaded = true
	if err != nil {
		f.aside = err
		f.c.setAside(f.path, err)
		return nil
	}
	f.hold(keys)
	return nil
}

func (f *keyFlow) decode(ctx context.Context, s *stateFile) ([]dated, error) {
	var keys []dated
	for _, sc := range s.Certs {
		h, err := sc.decode(nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		pub, ok := h.key.Public().(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("%w: %s holds a key that is not Ed25519", fault.ErrMaterial, f.path)
		}
		chain, err := f.check(ctx, h.chain, pub)
		if err != nil {
			return nil, fmt.Errorf("%s, issued by %q: %w", f.path, h.leaf().Issuer, err)
		}
		keys = append(keys, dated{&held{key: h.key, chain: chain}, time.Unix(sc.From, 0)})
	}
	slices.SortStableFunc(keys, func(a, b dated) int { return a.from.Compare(b.from) })
	return keys, nil
}

func (f *keyFlow) save() error {
	if f.path == "" {
		return nil
	}
	var s stateFile
	for _, k := range f.keys {
		sc, err := k.encode(true)
		if err != nil {
			return err
		}
		sc.From = k.from.Unix()
		s.Certs = append(s.Certs, sc)
	}
	return f.c.writeState(f.path, s)
}
