package sdk

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/alphaonedev/federation/signer"
)

const (
	maxPeerName = 64
	maxPeerID   = 512
)

// validatePeers returns the peers with every default filled in, or every problem that the list has.
func validatePeers(in []Peer, allowPlaintext bool) ([]Peer, error) {
	v := peerValidator{claims: make(map[string]int)}
	out := make([]Peer, 0, len(in))
	for i, p := range in {
		out = append(out, v.check(i, p.clone(), allowPlaintext))
	}
	// Where a peer is asked for, its name and its ID do alike.
	for i, p := range out {
		if other, taken := v.claims["ID\x00"+p.Name]; taken && other != i {
			v.problem(i, "Name", "is the ID of Peers[%d], which is called %s; give another", other, out[other].Name)
		}
	}
	return out, errors.Join(v.problems...)
}

// A peerValidator remembers which peer has claimed what.
type peerValidator struct {
	claims   map[string]int // kind and value, to the index of the peer that has it
	problems []error
}

func (v *peerValidator) problem(i int, field, format string, args ...any) {
	name := "Peers[" + strconv.Itoa(i) + "]"
	if field != "" {
		name += "." + field
	}
	v.problems = append(v.problems, &ConfigError{Field: name, Err: fmt.Errorf(format, args...)})
}

// claim records that peer i has value, and reports the peer that had it before.
func (v *peerValidator) claim(i int, field, kind, value, cure string) {
	key := kind + "\x00" + value
	if first, taken := v.claims[key]; taken {
		if first == i {
			v.problem(i, field, "%s %s is listed twice; remove one", kind, value)
		} else {
			v.problem(i, field, "%s %s is that of Peers[%d] too; %s", kind, value, first, cure)
		}
		return
	}
	v.claims[key] = i
}

func (v *peerValidator) check(i int, p Peer, allowPlaintext bool) Peer {
	if p.Name == "" {
		p.Name = "peer-" + strconv.Itoa(i)
	} else if err := checkLabel(p.Name); err != nil {
		v.problem(i, "Name", "%w", err)
	} else if p.Name == LocalPeer {
		v.problem(i, "Name", "is %q, by which results name this node; give another", LocalPeer)
	}
	v.claim(i, "Name", "name", p.Name, "give each its own")

	normal, host, err := normalizeURL(p.URL, allowPlaintext)
	if err != nil {
		for _, err := range unjoin(err) {
			v.problem(i, "URL", "%w", err)
		}
	} else {
		p.URL = normal
		v.claim(i, "URL", "URL", normal, "a peer that is listed twice would count twice towards the quorum; remove one")
	}

	if p.ServerName == "" {
		p.ServerName = host
		if addr, err := netip.ParseAddr(host); err == nil {
			p.ServerName = addr.WithZone("").String()
		}
	} else if name, err := normalizeName(p.ServerName); err != nil {
		v.problem(i, "ServerName", "%w", err)
	} else {
		p.ServerName = name
	}

	if p.ID == "" {
		p.ID = p.URL
	} else if err := checkID(p.ID); err != nil {
		v.problem(i, "ID", "%w", err)
	}
	if p.ID != "" {
		v.claim(i, "ID", "ID", p.ID, "give each its own")
	}

	for j, id := range p.IDs {
		field := "IDs[" + strconv.Itoa(j) + "]"
		normal, err := normalizeID(id)
		if err != nil {
			v.problem(i, field, "%w", err)
			continue
		}
		p.IDs[j] = normal
		v.claim(i, field, "certificate name", normal, "no two peers may share one")
	}
	for j, pin := range p.SPKIPins {
		field := "SPKIPins[" + strconv.Itoa(j) + "]"
		digest, err := parsePin(pin)
		if err != nil {
			v.problem(i, field, "%w", err)
			continue
		}
		p.SPKIPins[j] = "sha256/" + base64.StdEncoding.EncodeToString(digest[:])
		v.claim(i, field, "pin", p.SPKIPins[j], "no two peers may share one")
	}
	for j, key := range p.Keys {
		field := "Keys[" + strconv.Itoa(j) + "]"
		pub, ok := key.(ed25519.PublicKey)
		if !ok || len(pub) != ed25519.PublicKeySize {
			v.problem(i, field, "is %T, want ed25519.PublicKey of %d bytes; messages are signed with Ed25519", key, ed25519.PublicKeySize)
			continue
		}
		v.claim(i, field, "key", signer.Thumbprint(pub), "no two peers may share one")
	}
	if err := checkWire(p.Wire); err != nil {
		v.problem(i, "Wire", "%w", err)
	}
	if p.Trust != nil {
		if err := validateProvider(p.Trust); err != nil {
			v.problem(i, "Trust", "%w", err)
		}
	}
	return p
}

// unjoin returns the errors that errors.Join put together.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// checkLabel refuses what would not do as a metric label.
func checkLabel(name string) error {
	switch {
	case len(name) > maxPeerName:
		return fmt.Errorf("has %d bytes, more than %d; shorten it, since it labels metrics", len(name), maxPeerName)
	case strings.Contains(name, "://"):
		return errors.New("is a URL, and a URL in a metric label explodes; give a short name")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("has the unprintable character %q; remove it", r)
		}
	}
	return nil
}

// checkID refuses what could not stand in a header field (RFC 9110, section 5.5).
func checkID(id string) error {
	if len(id) > maxPeerID {
		return fmt.Errorf("has %d bytes, more than %d; shorten it", len(id), maxPeerID)
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Errorf("has the character %q; use printable ASCII without spaces, quotes and backslashes", c)
		}
	}
	return nil
}

// normalizeID brings a name that a certificate can have into one form: a SPIFFE ID (or another URI) or a host
// name or address.
func normalizeID(id string) (string, error) {
	if id == "" {
		return "", errors.New("is empty; give a SPIFFE ID or a DNS name, or leave it out")
	}
	if !strings.Contains(id, "://") {
		return normalizeName(id)
	}
	u, err := url.Parse(id)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("is no URI: %q; give a SPIFFE ID such as spiffe://example.org/node", id)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("has user info, a query or a fragment, which a SPIFFE ID never has; remove it")
	}
	if !strings.EqualFold(u.Scheme, "spiffe") {
		return id, nil
	}
	// Trust domain and scheme are in lower case, the path is compared as it is (SPIFFE-ID, section 2).
	if u.Port() != "" || strings.HasSuffix(u.Path, "/") {
		return "", fmt.Errorf("is no SPIFFE ID: %q; it has no port and no trailing slash", id)
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), "/"), "/") {
		if u.Path != "" && segment == "" || segment == "." || segment == ".." || strings.Contains(segment, "%") {
			return "", fmt.Errorf("is no SPIFFE ID: %q; its path has no empty segments, no dot segments and no percent-encoding", id)
		}
	}
	return "spiffe://" + strings.ToLower(u.Host) + u.EscapedPath(), nil
}

// parsePin reads a SHA-256 digest of a SubjectPublicKeyInfo.
func parsePin(pin string) (digest [32]byte, err error) {
	s := strings.TrimPrefix(pin, "sha256/")
	raw, err := base64.StdEncoding.DecodeString(s)
	if len(s) == 2*len(digest) {
		raw, err = hex.DecodeString(s)
	}
	if err != nil || len(raw) != len(digest) {
		return digest, fmt.Errorf("is no SHA-256 digest: %q; give 44 characters of base64 or 64 hexadecimal digits", pin)
	}
	return [32]byte(raw), nil
}

func checkWire(w signer.Wire) error {
	switch w {
	case signer.WireFederation, signer.WireAIMemory:
		return nil
	}
	return fmt.Errorf("is %v, which is none; use signer.WireFederation or signer.WireAIMemory", w)
}

// validateProvider asks a provider that can tell whether its configuration could work.
func validateProvider(p any) error {
	if v, ok := p.(Validator); ok {
		return v.Validate()
	}
	return nil
}
