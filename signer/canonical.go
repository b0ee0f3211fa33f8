package signer

import "strings"

// Limits of what a message covers, in bytes.
const (
	maxMethod      = 32
	maxAuthority   = 261 // a DNS name, a colon and a port
	maxTarget      = 8 << 10
	maxContentType = 256
	maxTo          = 2048
	maxOperation   = 128
)

// validMethod takes a token (RFC 9110 section 5.6.2) that is not CONNECT, whose target has no path.
func validMethod(s string) bool {
	if s == "" || len(s) > maxMethod || s == "CONNECT" {
		return false
	}
	for i := range len(s) {
		if !tokenChar(s[i]) {
			return false
		}
	}
	return true
}

func tokenChar(c byte) bool {
	return alphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// splitTarget takes a request target in origin form apart into @path and @query (RFC 9421 sections 2.2.6
// and 2.2.7), both as they stand on the wire. A bare "?" at the end is refused: @query could not tell it
// from no query.
func splitTarget(target string) (path, query string, ok bool) {
	if !visible(target, maxTarget) || target[0] != '/' || strings.IndexByte(target, '#') >= 0 {
		return "", "", false
	}
	q := strings.IndexByte(target, '?')
	switch q {
	case -1:
		return target, "?", true
	case len(target) - 1:
		return "", "", false
	}
	return target[:q], target[q:], true
}

// canonicalAuthority is @authority (RFC 9421 section 2.2.3): lower case, without the scheme's default
// port. It refuses what is not plain ASCII host and port.
func canonicalAuthority(host, scheme string) (string, bool) {
	if host == "" || len(host) > maxAuthority {
		return "", false
	}
	colon, closing := -1, -1
	for i := range len(host) {
		switch c := host[i]; {
		case alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~':
		case c == '[':
			if i != 0 {
				return "", false
			}
		case c == ']':
			if host[0] != '[' || closing >= 0 {
				return "", false
			}
			closing = i
		case c == ':':
			if host[0] == '[' && closing < 0 {
				continue // inside an IPv6 address
			}
			if colon >= 0 {
				return "", false
			}
			colon = i
		default:
			return "", false
		}
	}
	name, port := host, ""
	if colon >= 0 {
		name, port = host[:colon], host[colon+1:]
	}
	if name == "" || host[0] == '[' && (closing != len(name)-1 || closing < 3) || !validPort(port) {
		return "", false
	}
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return strings.ToLower(name), true
	}
	return strings.ToLower(host), true
}

func validPort(s string) bool {
	if len(s) > 5 || s != "" && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// visible takes 1 to limit printable ASCII characters without a space.
func visible(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// fieldText takes a header value that has one reading: printable ASCII, no space at either end.
func fieldText(s string) bool {
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
