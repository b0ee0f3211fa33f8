package transport

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// An entry is a Peer of one snapshot, with what is derived from it. Immutable.
type entry struct {
	peer   Peer // Name and ServerName filled in
	member *member
	scope  *scope // nil for http

	scheme, addr string // what to dial: "https", "b.example:9077"
	host         string // key of byHost: canonical host:port
	path         string // prefix of every request's path, without a trailing slash

	name   string // ServerName as compared: lower case, IP addresses in canonical form
	ids    map[string]bool
	policy string // equal for two entries that accept the same certificates, their scopes apart
}

// compilePeer checks p and derives its entry; scope and member are the caller's. field is what err is about.
func compilePeer(p Peer, index int, plaintext bool) (e *entry, field string, err error) {
	if p.Name == "" {
		p.Name = fmt.Sprintf("peer-%d", index)
	}
	u, err := checkURL(p.URL, plaintext)
	if err != nil {
		return nil, "URL", err
	}
	e = &entry{scheme: u.Scheme, path: strings.TrimRight(u.EscapedPath(), "/")}
	e.host = canonicalHost(u.Scheme, u.Host)
	e.addr = e.host
	if p.ServerName == "" {
		h, _, _ := net.SplitHostPort(e.host)
		p.ServerName = h
	} else if err := checkName(p.ServerName); err != nil {
		return nil, "ServerName", err
	}
	e.name = canonicalName(p.ServerName)
	if len(p.IDs) > 0 {
		e.ids = make(map[string]bool, len(p.IDs))
		for i, id := range p.IDs {
			if err := checkName(id); err != nil {
				return nil, fmt.Sprintf("IDs[%d]", i), err
			}
			e.ids[canonicalID(id)] = true
		}
	}
	e.peer = p
	e.policy = e.policyKey()
	return e, "", nil
}

func checkURL(raw string, plaintext bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("is not a URL: want https://host:port")
	}
	switch {
	case u.Scheme == "http" && !plaintext:
		return nil, errors.New("is http: use https, or set Options.AllowPlaintext")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("has the scheme %q: want https", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return nil, errors.New("has user info, a query or a fragment: leave scheme, host, port and path")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("has port %s: want one from 1 to 65535", port)
		}
	}
	for _, r := range u.Host {
		if r > 0x7e {
			return nil, errors.New("has a host that is not ASCII: write it in its xn-- form")
		}
	}
	return u, nil
}

// checkName refuses what no certificate can name.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty: give a name, or leave it out")
	case strings.ContainsAny(name, " \t\r\n*"):
		return fmt.Errorf("is %q, which is no name: give one without spaces and asterisks", name)
	}
	return nil
}

func (e *entry) policyKey() string {
	var b strings.Builder
	if e.ids == nil {
		b.WriteString(e.name)
	}
	fmt.Fprintf(&b, "\x00%q\x00%x", slices.Sorted(maps.Keys(e.ids)), e.peer.SPKIPins)
	return b.String()
}

// covers reports whether a request for u, on e's host, belongs to e. One that climbs out of e's path by dot segments does
// not, however it begins.
func (e *entry) covers(u *url.URL) bool {
	if e.path == "" {
		return true
	}
	if u.Opaque != "" { // is sent in place of the path
		return false
	}
	path := u.EscapedPath()
	if !strings.HasPrefix(path, e.path) || len(path) > len(e.path) && path[len(e.path)] != '/' {
		return false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == ".." {
			return false
		}
	}
	return true
}

// canonicalHost returns host:port, lower case, with the default port filled in and IP addresses in canonical
// form.
func canonicalHost(scheme, hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.Trim(hostport, "[]"), ""
	}
	if port == "" {
		port = "443"
		if scheme == "http" {
			port = "80"
		}
	}
	return net.JoinHostPort(canonicalName(host), port)
}

// canonicalName returns a DNS name in lower case without its final dot, or an IP address in canonical form.
func canonicalName(name string) string {
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

func canonicalID(id string) string {
	if scheme, rest, ok := strings.Cut(id, "://"); ok {
		host, path, slash := strings.Cut(rest, "/")
		id = strings.ToLower(scheme) + "://" + strings.ToLower(host)
		if slash {
			id += "/" + path
		}
		return id
	}
	return canonicalName(id)
}
