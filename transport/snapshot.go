package transport

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A snapshot is what is trusted, compiled. Immutable but for its memory of verdicts.
type snapshot struct {
	seq     uint64
	entries []*entry
	scopes  map[[32]byte]*scope

	byHost   map[hostKey][]*entry // longest path first
	byMember map[*member]*entry
	byName   map[string]*entry

	// how an inbound certificate is recognised: each entry is in one of them
	byServer map[string][]*entry
	byID     map[string][]*entry
	byPin    map[[32]byte][]*entry

	distrusted    map[[32]byte]bool
	distrustedKey string

	strict bool
	grace  time.Duration

	mu       sync.Mutex
	verdicts map[[32]byte]verdict // of inbound chains that were accepted
}

type hostKey struct{ scheme, host string }

// compileSnapshot checks m and derives a snapshot from it. Scopes and members of old are kept where they are
// the same. ignored holds what was left out of the scopes that are new.
func compileSnapshot(m *Material, old *snapshot, o *Options) (s *snapshot, ignored []error, errs []error) {
	n := len(m.Peers)
	s = &snapshot{
		entries: make([]*entry, 0, n), scopes: make(map[[32]byte]*scope),
		byHost: make(map[hostKey][]*entry, n), byMember: make(map[*member]*entry, n), byName: make(map[string]*entry, n),
		byServer: make(map[string][]*entry, n), byID: make(map[string][]*entry), byPin: make(map[[32]byte][]*entry),
		distrusted: make(map[[32]byte]bool, len(m.Distrusted)), strict: o.StrictCRL, grace: o.CRLGrace,
		verdicts: make(map[[32]byte]verdict),
	}
	s.setDistrusted(m.Distrusted)
	fail := func(field string, err error) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: err})
	}
	compiled := make(map[*Trust]*scope)
	scopeOf := func(t *Trust) (*scope, error) {
		if sc := compiled[t]; sc != nil {
			return sc, nil
		}
		if err := checkTrust(t); err != nil {
			return nil, err
		}
		key := scopeKey(t)
		sc := s.scopes[key]
		if sc == nil && old != nil {
			sc = old.scopes[key]
		}
		if sc == nil {
			var left []error
			sc, left = compileScope(t, key)
			ignored = append(ignored, left...)
		}
		s.scopes[key], compiled[t] = sc, sc
		return sc, nil
	}
	if m.Trust != nil {
		if _, err := scopeOf(m.Trust); err != nil {
			return nil, nil, []error{fmt.Errorf("Material.Trust: %w", err)}
		}
	}
	members := make(map[string]*member)
	if old != nil {
		for _, e := range old.entries {
			members[e.member.key] = e.member
		}
	}
	urls := make(map[string]int, n)
	for i := range m.Peers {
		field := fmt.Sprintf("Peers[%d]", i)
		e, what, err := compilePeer(m.Peers[i], i, o.AllowPlaintext)
		if err != nil {
			fail(field+"."+what, err)
			continue
		}
		key := e.scheme + "://" + e.host + e.path
		if j, dup := urls[key]; dup {
			fail(field+".URL", fmt.Errorf("is the same as that of Peers[%d]: remove one", j))
			continue
		}
		urls[key] = i
		if s.byName[e.peer.Name] != nil {
			fail(field+".Name", fmt.Errorf("%q is another peer's too: names must differ", e.peer.Name))
			continue
		}
		if e.scheme == "https" {
			t, what := e.peer.Trust, field+".Trust"
			if t == nil {
				t, what = m.Trust, "Material.Trust"
			}
			if e.scope, err = scopeOf(t); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", what, err))
				continue
			}
		}
		if e.member = members[key]; e.member == nil {
			e.member = newMember(key)
		}
		s.add(e)
	}
	for id, es := range s.byID {
		if len(es) > 1 {
			fail("Peers", fmt.Errorf("%q and %q share the ID %q: nobody could tell them apart", es[0].peer.Name, es[1].peer.Name, id))
		}
	}
	for _, es := range s.byHost {
		slices.SortStableFunc(es, func(a, b *entry) int { return cmp.Compare(len(b.path), len(a.path)) })
	}
	return s, ignored, errs
}

func (s *snapshot) add(e *entry) {
	s.entries = append(s.entries, e)
	s.byName[e.peer.Name] = e
	s.byMember[e.member] = e
	k := hostKey{e.scheme, e.host}
	s.byHost[k] = append(s.byHost[k], e)
	if e.scheme != "https" {
		return
	}
	switch {
	case len(e.peer.SPKIPins) > 0:
		for _, p := range e.peer.SPKIPins {
			s.byPin[p] = append(s.byPin[p], e)
		}
	case e.ids != nil:
		for id := range e.ids {
			s.byID[id] = append(s.byID[id], e)
		}
	default:
		s.byServer[e.name] = append(s.byServer[e.name], e)
	}
}

func (s *snapshot) setDistrusted(prints [][32]byte) {
	keys := make([]string, 0, len(prints))
	for _, p := range prints {
		s.distrusted[p] = true
		keys = append(keys, string(p[:]))
	}
	slices.Sort(keys)
	s.distrustedKey = strings.Join(keys, "")
}

// route returns the peer to which a URL belongs, or nil.
func (s *snapshot) route(u *url.URL) *entry {
	es := s.byHost[hostKey{u.Scheme, u.Host}]
	if es == nil {
		es = s.byHost[hostKey{u.Scheme, canonicalHost(u.Scheme, u.Host)}]
	}
	for _, e := range es {
		if e.covers(u) {
			return e
		}
	}
	return nil
}

// stray says why a URL belongs to no peer.
func (s *snapshot) stray(u *url.URL) error {
	if len(s.byHost[hostKey{u.Scheme, canonicalHost(u.Scheme, u.Host)}]) > 0 {
		if u.Opaque != "" {
			return fmt.Errorf("%s has peers whose URLs have a path, and the request has URL.Opaque in place of one: set URL.Path, or RawPath beside it", u.Host)
		}
		return fmt.Errorf("%s has peers, and %q is below the URL of none of them", u.Host, u.EscapedPath())
	}
	return fmt.Errorf("%s://%s is no configured peer; requests go to the URLs of Peers alone", u.Scheme, u.Host)
}

// distrusts returns an error if the certificate or its key is distrusted by fingerprint.
func (s *snapshot) distrusts(certs []*x509.Certificate) error {
	if len(s.distrusted) == 0 {
		return nil
	}
	for _, c := range certs {
		if s.distrusted[sha256.Sum256(c.Raw)] || s.distrusted[sha256.Sum256(c.RawSubjectPublicKeyInfo)] {
			return fmt.Errorf("certificate %x of %q is distrusted", c.SerialNumber, c.Issuer.String())
		}
	}
	return nil
}
