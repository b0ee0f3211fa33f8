package sdk

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// normalizeURL brings the base URL of a peer into the one form that all its spellings share (RFC 3986,
// section 6.2): scheme and host in lower case, IDNA host names in their ASCII form, IP addresses in their
// shortest, no default port, unreserved characters unescaped, dot segments removed, no trailing slash. The
// path keeps its case. The error joins everything that is wrong.
func normalizeURL(raw string, allowPlaintext bool) (normal, host string, err error) {
	if strings.TrimSpace(raw) != raw {
		return "", "", errors.New("has spaces around it; remove them")
	}
	if raw == "" {
		return "", "", errors.New("is empty; give https://HOST[:PORT][/PATH]")
	}
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, which may hold a password
		}
		return "", "", fmt.Errorf("is not a URL: %w; give https://HOST[:PORT][/PATH]", err)
	}
	var problems []error
	problem := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	switch {
	case u.Scheme == "http" && !allowPlaintext:
		problem(errors.New(`has scheme "http", which nothing protects; use https, or set AllowPlaintext to mean it`))
	case u.Scheme == "":
		return "", "", errors.New("has no scheme; give https://HOST[:PORT][/PATH]")
	case u.Scheme != "https" && u.Scheme != "http":
		problem(fmt.Errorf("has scheme %q; use https, as in https://HOST[:PORT][/PATH]", u.Scheme))
	}
	if u.User != nil {
		problem(errors.New("has user info; remove it and authenticate with Builder.APIKey or the certificate"))
	}
	if u.RawQuery != "" || u.ForceQuery {
		problem(errors.New("has a query; remove it"))
	}
	if u.Fragment != "" || strings.Contains(raw, "#") {
		problem(errors.New("has a fragment; remove it"))
	}
	var port, path string
	if u.Opaque != "" {
		if len(problems) == 0 { // else it is a URL of quite another kind
			problem(errors.New("has no host; give https://HOST[:PORT][/PATH]"))
		}
	} else {
		host, err = normalizeHost(u.Hostname())
		problem(err)
		port, err = normalizePort(u.Port(), u.Scheme)
		problem(err)
		path, err = normalizePath(u.EscapedPath())
		problem(err)
	}
	if len(problems) > 0 {
		return "", "", errors.Join(problems...)
	}
	authority := host
	if strings.Contains(host, ":") {
		// A zone's "%" is escaped in a URL (RFC 6874).
		authority = "[" + strings.Replace(host, "%", "%25", 1) + "]"
	}
	return u.Scheme + "://" + authority + port + path, host, nil
}

// normalizeName is normalizeHost for a name that stands alone.
func normalizeName(name string) (string, error) {
	bare, bracketed := strings.CutPrefix(name, "[")
	switch {
	case strings.Contains(name, "/"):
		return "", fmt.Errorf("is %q, but no host name has a slash; give the name alone, as the certificate has it", name)
	case bracketed && strings.HasSuffix(bare, "]"):
		return "", fmt.Errorf("has brackets around the address: %q; remove them", name)
	case bracketed || strings.Count(name, ":") == 1:
		return "", fmt.Errorf("is %q, but a certificate names no port; give the host alone", name)
	}
	return normalizeHost(name)
}

func normalizeHost(host string) (string, error) {
	if host == "" {
		return "", errors.New("has no host; give https://HOST[:PORT][/PATH]")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		if addr.IsUnspecified() {
			return "", fmt.Errorf("has host %s, which is no address to connect to; give the peer's own", addr)
		}
		return addr.String(), nil
	}
	if strings.Contains(host, ":") {
		return "", fmt.Errorf("has host %q, which is no IPv6 address; check its groups", host)
	}
	name, err := idna.Lookup.ToASCII(host)
	if err == nil {
		name, err = idna.Lookup.ToASCII(name) // refuses an A-label that is none
	}
	if err != nil {
		return "", fmt.Errorf("has host %q, which is no host name: %w; check its spelling", host, err)
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "" || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return "", fmt.Errorf("has host %q, which has an empty label; check its dots", host)
	}
	// Full-width digits become an address only here.
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().String(), nil
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; isNumber(last) {
		return "", fmt.Errorf("has host %q, which some read as an IPv4 address and some as a name; write the address as four decimal numbers without leading zeros", host)
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > 63 {
			return "", fmt.Errorf("has host %q with a label of %d bytes, more than 63; check its spelling", host, len(label))
		}
	}
	if len(name) > 253 {
		return "", fmt.Errorf("has a host name of %d bytes, more than 253; check its spelling", len(name))
	}
	return name, nil
}

// isNumber reports whether a resolver may take the last label of a name for a part of an IPv4 address.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

func normalizePort(port, scheme string) (string, error) {
	if port == "" {
		return "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("has port %s; give one from 1 to 65535", port)
	}
	if scheme == "https" && n == 443 || scheme == "http" && n == 80 {
		return "", nil
	}
	return ":" + strconv.FormatUint(n, 10), nil
}

func normalizePath(escaped string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		n, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8) // url.Parse has checked the digits
		if err != nil {
			return "", fmt.Errorf("has a broken escape in its path: %q; check its percent signs", escaped[i:i+3])
		}
		if n < 0x20 || n == 0x7f {
			return "", fmt.Errorf("has the control character %%%02X in its path; remove it", n)
		}
		if isUnreserved(byte(n)) {
			b.WriteByte(byte(n))
		} else {
			fmt.Fprintf(&b, "%%%02X", n)
		}
		i += 2
	}
	p := b.String()
	if p == "" {
		return "", nil
	}
	for _, segment := range strings.Split(p, "/") {
		if segment == "." || segment == ".." {
			return removeDots(p), nil
		}
	}
	return strings.TrimRight(p, "/"), nil
}

// removeDots does what RFC 3986, section 5.2.4 says, and drops the trailing slash. Empty segments stay, which path.Clean
// would merge.
func removeDots(p string) string {
	var out []string
	for s := range strings.SplitSeq(p, "/") {
		switch s {
		case ".":
		case "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
		}
	}
	return strings.TrimRight(strings.Join(out, "/"), "/")
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
