package vault

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/signer"
)

// keyState is what a Key remembers: the versions of Vault and those that Vault has forgotten.
type keyState struct {
	active   *version            // guarded by Key.turn, as are the next two
	versions map[string]*version // by public key
	last     transitKey

	mu       sync.Mutex
	changed  chan struct{} // closed when the version in use was refused
	watchers int
}

// A version is one version of the key. Its fields are guarded by Key.turn.
type version struct {
	number  int
	public  ed25519.PublicKey
	key     signer.Key
	seen    time.Time // first
	retired time.Time // when it stopped signing; zero: it has not
	listed  bool      // by Vault, at the last pull
}

// transitKey is Vault's description of a key.
type transitKey struct {
	Type       string                     `json:"type"`
	Derived    bool                       `json:"derived"`
	Exportable bool                       `json:"exportable"`
	Latest     int                        `json:"latest_version"`
	MinSign    int                        `json:"min_encryption_version"`
	MinVerify  int                        `json:"min_decryption_version"`
	Keys       map[string]json.RawMessage `json:"keys"`
}

// public returns the public key of a version; nil: Vault does not list it.
func (t transitKey) public(number int) (ed25519.PublicKey, error) {
	raw, ok := t.Keys[strconv.Itoa(number)]
	if !ok {
		return nil, nil
	}
	var entry struct {
		Public string `json:"public_key"`
	}
	if err := json.Unmarshal(raw, &entry); err != nil {
		return nil, err
	}
	pub, err := base64.StdEncoding.DecodeString(entry.Public)
	if err == nil && len(pub) != ed25519.PublicKeySize {
		err = fmt.Errorf("%d bytes", len(pub))
	}
	return pub, err
}

func (k *Key) pull(ctx context.Context) (*sdk.KeySet, error) {
	if err := k.Validate(); err != nil {
		return nil, errors.Unwrap(err)
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found, err := k.describe(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	latest, err := k.learn(found, now)
	if err != nil {
		return nil, err
	}
	next, wait := k.choose(found, latest, now)
	if next.key == nil {
		if next.key, err = k.keyOf(ctx, next, found.Exportable); err != nil {
			return nil, err
		}
	}
	if s := &k.state; s.active != next {
		if s.active != nil {
			s.active.retired = now
			k.client.cfg.Logger.Info("signing with another version of the key", "key", k.opts.Name, "was", s.active.number, "is", next.number)
		}
		s.active, next.retired = next, time.Time{}
	}
	set := &sdk.KeySet{Active: next.key}
	for _, v := range k.published(now) {
		set.Published = append(set.Published, crypto.PublicKey(slices.Clone(v.public)))
	}
	set.RefreshAfter = k.client.refresh(min(wait, k.poll()))
	return set, nil
}

// poll is the longest that a pull may wait for the next. Where Watch looks at Vault, pulls need not.
func (k *Key) poll() time.Duration {
	every := k.every()
	k.state.mu.Lock()
	defer k.state.mu.Unlock()
	if k.state.watchers > 0 {
		return max(every, time.Hour)
	}
	return every
}

func (k *Key) every() time.Duration {
	if k.opts.RefreshAfter > 0 {
		return k.opts.RefreshAfter
	}
	return defaultRefresh
}

// describe reads the key from Vault.
func (k *Key) describe(ctx context.Context) (transitKey, error) {
	var t transitKey
	where := join(k.opts.Mount, "keys", k.opts.Name)
	err := k.client.data(ctx, call{what: "read the key", namespace: k.client.namespaceOf(k.opts.Namespace), path: where}, &t)
	if ce, ok := errors.AsType[*callError](err); ok && ce.status == http.StatusNotFound && errors.Is(ce, fault.ErrNotFound) {
		ce.msg = fmt.Sprintf("there is no key %q: create it with type=ed25519", k.opts.Name)
	}
	if err != nil {
		return t, explainMount(err, k.opts.Mount)
	}
	bad := func(kind error, format string, args ...any) (transitKey, error) {
		return t, &callError{op: "read the key at " + where, msg: fmt.Sprintf(format, args...), kind: kind}
	}
	switch {
	case t.Type != "ed25519":
		return bad(fault.ErrConfig, "its type is %q, and messages are signed with ed25519: create another key", t.Type)
	case t.Derived:
		return bad(fault.ErrConfig, "it is a derived key, which has a public key per context: create one with derived=false")
	case k.opts.Export && !t.Exportable:
		return bad(fault.ErrConfig, "it is not exportable: create it with exportable=true, or leave Export out")
	case t.Latest < 1 || t.Latest < t.MinSign:
		return bad(fault.ErrMaterial, "its latest version is %d and the least that may sign is %d", t.Latest, t.MinSign)
	}
	return t, nil
}

// learn takes Vault's versions into the memory and returns the latest.
func (k *Key) learn(t transitKey, now time.Time) (*version, error) {
	op := "read the key at " + join(k.opts.Mount, "keys", k.opts.Name)
	s := &k.state
	fresh := map[string]*version{}
	var latest *version
	for text := range t.Keys {
		number, err := strconv.Atoi(text)
		var pub ed25519.PublicKey
		if err == nil {
			pub, err = t.public(number)
		}
		if err != nil || pub == nil || number < 1 {
			return nil, &callError{op: op, msg: "a version is not a number with an Ed25519 public key", kind: fault.ErrMaterial}
		}
		v := s.versions[string(pub)]
		if v == nil || v.number != number {
			v = &version{number: number, public: pub, seen: now}
		}
		fresh[string(pub)] = v
		if number == t.Latest {
			latest = v
		}
	}
	if latest == nil {
		return nil, &callError{op: op, msg: fmt.Sprintf("the latest version, %d, is missing from the list", t.Latest), kind: fault.ErrMaterial}
	}
	if s.versions == nil {
		s.versions = map[string]*version{}
	}
	for pub, v := range s.versions {
		v.listed = false
		if fresh[pub] == nil && v.retired.IsZero() {
			v.retired = now // Vault dropped it
		}
	}
	for pub, v := range fresh {
		v.listed = true
		s.versions[pub] = v
	}
	s.last = t
	return latest, nil
}

// choose says which version signs from now on, and how long that holds at most: the newest that has been announced. A
// version that Vault no longer lets sign gives way at once, to one that peers do not know yet if there is no other.
func (k *Key) choose(t transitKey, latest *version, now time.Time) (*version, time.Duration) {
	next, wait := k.state.active, k.opts.Overlap
	if next == nil || k.opts.Announce < 0 {
		return latest, wait
	}
	if !next.listed || next.number < t.MinSign {
		next = nil
	}
	for _, v := range k.state.versions {
		if !v.listed || v.number < t.MinSign || next != nil && v.number <= next.number {
			continue
		}
		if left := v.seen.Add(k.opts.Announce).Sub(now); left > 0 {
			wait = min(wait, left)
		} else {
			next = v
		}
	}
	if next == nil {
		next = latest
	}
	return next, wait
}

// published forgets what is over and returns the versions that peers should accept besides the active one:
// newer ones, that will sign, and older ones, that have signed within the overlap. Versions that were already
// old when this process began count as having signed until then.
func (k *Key) published(now time.Time) []*version {
	s := &k.state
	var out []*version
	for pub, v := range s.versions {
		if v == s.active {
			continue
		}
		if v.retired.IsZero() && v.number < s.active.number {
			v.retired = now
		}
		if !v.retired.IsZero() && now.Sub(v.retired) >= k.opts.Overlap {
			if !v.listed {
				delete(s.versions, pub)
			}
			continue
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b *version) int {
		if a.number != b.number {
			return b.number - a.number
		}
		return bytes.Compare(a.public, b.public)
	})
	return out
}

// refusedVersion tells Watch that the version in use is no longer signed with.
func (k *Key) refusedVersion() {
	k.state.mu.Lock()
	defer k.state.mu.Unlock()
	close(k.state.changed)
	k.state.changed = make(chan struct{})
}
