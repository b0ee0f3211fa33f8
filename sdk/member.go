package sdk

import (
	"crypto"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// A member is a peer with what is known of it.
type member struct {
	Peer
	scope *scope
	pins  [][32]byte
	path  string // of URL, escaped; "" for none

	*memory
}

// audience is what messages for the peer are addressed to.
func (m *member) audience() string {
	switch {
	case m.ID != m.URL:
		return m.ID
	case len(m.IDs) == 0:
		return m.ServerName
	}
	if seen := m.seen.Load(); seen != nil && len(m.IDs) > 1 {
		for _, id := range m.IDs {
			if hasID((*seen)[0], id) {
				return id
			}
		}
	}
	return m.IDs[0]
}

// A memory is what is known of a peer from talking to it. It outlives a change of the list.
type memory struct {
	seen    atomic.Pointer[[]*x509.Certificate] // the chain that it showed last
	epoch   atomic.Pointer[string]              // what its messages are signed with since it asked to sign again
	skew    atomic.Int64                        // how far its clock is ahead, in nanoseconds
	skewed  atomic.Bool                         // whether that was reported
	heard   atomic.Int64                        // when it last answered or sent something, in Unix nanoseconds
	denials denials
}

// A roster is the list of peers in force, with the policy that it leads to. It does not change.
type roster struct {
	members  []*member
	policy   quorum.Policy
	byName   map[string]*member
	byID     map[string]*member
	byOrigin map[string][]*member
}

func newRoster(peers []Peer, scopes []*scope, policy quorum.Policy, before *roster) *roster {
	r := &roster{policy: policy, byName: make(map[string]*member, len(peers)), byID: make(map[string]*member, len(peers)), byOrigin: make(map[string][]*member, len(peers))}
	for i, p := range peers {
		m := &member{Peer: p, scope: scopes[i], memory: new(memory)}
		for _, pin := range p.SPKIPins {
			digest, _ := parsePin(pin) // validated before
			m.pins = append(m.pins, digest)
		}
		if before != nil {
			if old := before.byID[p.ID]; old != nil && old.URL == p.URL {
				m.memory = old.memory
			}
		}
		if u, err := url.Parse(p.URL); err == nil { // validated before
			m.path = u.EscapedPath()
			r.byOrigin[origin(u)] = append(r.byOrigin[origin(u)], m)
		}
		r.members = append(r.members, m)
		r.byName[p.Name] = m
		r.byID[p.ID] = m
	}
	return r
}

func (r *roster) peers() []Peer {
	out := make([]Peer, len(r.members))
	for i, m := range r.members {
		out[i] = m.clone()
	}
	return out
}

// transportPeers is the roster as the transport wants it.
func (r *roster) transportPeers(global *scope) []transport.Peer {
	out := make([]transport.Peer, len(r.members))
	for i, m := range r.members {
		out[i] = transport.Peer{Name: m.Name, URL: m.URL, ServerName: m.ServerName, IDs: m.IDs, SPKIPins: m.pins}
		if m.scope != global {
			out[i].Trust = m.scope.serving.Load().trust
		}
	}
	return out
}

// directoryPeers is the roster as the key directory wants it.
func (r *roster) directoryPeers() []signer.DirectoryPeer {
	out := make([]signer.DirectoryPeer, len(r.members))
	for i, m := range r.members {
		keys := make([]crypto.PublicKey, len(m.Keys))
		copy(keys, m.Keys)
		out[i] = signer.DirectoryPeer{Name: m.Name, Keys: keys, Static: len(keys) > 0}
	}
	return out
}

// baseURL is where the named peer serves, or "".
func (r *roster) baseURL(name string) string {
	if m := r.byName[name]; m != nil {
		return m.URL
	}
	return ""
}

// sawChain remembers the certificates that the peer showed, and reports whether they are others than before.
func (m *memory) sawChain(chain []*x509.Certificate) bool {
	if len(chain) == 0 {
		return false
	}
	old := m.seen.Load()
	if old != nil && (*old)[0].Equal(chain[0]) {
		return false
	}
	m.seen.Store(&chain)
	return old != nil
}

// sawClock remembers by how much the peer's clock is ahead, and reports whether it has just left, and whether
// it has just come back within, the limit.
func (m *memory) sawClock(skew, limit time.Duration) (left, back bool) {
	m.skew.Store(int64(skew))
	m.heard.Store(time.Now().UnixNano())
	if skew.Abs() > limit {
		return m.skewed.CompareAndSwap(false, true), false
	}
	if m.skewed.Load() {
		return false, m.skewed.CompareAndSwap(true, false)
	}
	return false, false
}

// byURL finds the peer whose URL is a prefix of u, the longest if several are.
func (r *roster) byURL(u *url.URL) *member {
	var found *member
	for _, m := range r.byOrigin[origin(u)] {
		if under(u.EscapedPath(), m.path) && (found == nil || len(m.path) > len(found.path)) {
			found = m
		}
	}
	return found
}

// under reports whether a path is base or lies below it.
func under(path, base string) bool {
	rest, ok := strings.CutPrefix(path, base)
	return ok && (rest == "" || rest[0] == '/')
}

// origin is the scheme and authority of a URL, so that every spelling that the transport takes for a peer is one.
func origin(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	} else {
		host = strings.TrimSuffix(strings.ToLower(host), ".")
	}
	if port == "" && u.Scheme == "https" {
		port = "443"
	} else if port == "" {
		port = "80"
	}
	return u.Scheme + "://" + net.JoinHostPort(host, port)
}
