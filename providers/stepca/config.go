package stepca

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
)

// DefaultTimeout bounds one exchange with the CA.
const DefaultTimeout = 15 * time.Second

// A Config says which CA to use. URL and Fingerprint are required; zero fields are defaults.
type Config struct {
	// URL is where the CA answers: "https://ca.example:9000". Nothing but https is accepted, and no path.
	URL string

	// Fingerprint is the SHA-256 of the CA's root certificate (its DER form) in hexadecimal, 64 digits; colons,
	// dashes and upper case do not matter. `step certificate fingerprint root_ca.crt` prints it. It is the only
	// thing that the first contact is trusted by.
	Fingerprint string

	// StateDir is a folder in which certificates, keys and roots are kept, so that a restart neither enrols again
	// nor needs the CA while they are valid. It is made with mode 0700, its files with 0600. Empty: nothing is kept.
	// Two processes, or two clients of different CAs, must not share one.
	StateDir string

	// Timeout bounds one exchange with the CA; default 15 s.
	Timeout time.Duration

	// Dial replaces the dialer, for tunnels and tests; nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Proxy picks an egress proxy; nil: none. http.ProxyFromEnvironment is a choice, not the default.
	Proxy func(*http.Request) (*url.URL, error)

	// Logger is told of renewals, of state that could not be used, and of clocks that differ; nil: silent.
	Logger hclog.Logger
}

// validate returns the parsed URL and fingerprint, or every problem at once.
func (c Config) validate() (*url.URL, [sha256.Size]byte, error) {
	u, uerr := parseURL(c.URL)
	fp, ferr := parseFingerprint(c.Fingerprint)
	var terr error
	if c.Timeout < 0 {
		terr = &fault.ConfigError{Field: "Timeout", Err: fmt.Errorf("is %v; use a positive duration, or 0 for %v", c.Timeout, DefaultTimeout)}
	}
	return u, fp, errors.Join(uerr, ferr, terr)
}

func parseURL(s string) (*url.URL, error) {
	bad := func(format string, args ...any) (*url.URL, error) {
		return nil, &fault.ConfigError{Field: "URL", Err: fmt.Errorf(format, args...)}
	}
	if s == "" {
		return bad("is empty; give the CA's address, such as https://ca.example:9000")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return bad("does not parse; give the CA's address, such as https://ca.example:9000")
	case u.Scheme != "https":
		return bad("%q has the scheme %q; a CA answers over https only", u.Redacted(), u.Scheme)
	case u.Hostname() == "":
		return bad("%q names no host", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return bad("%q holds user info, a query or a fragment; remove it", u.Redacted())
	case u.Path != "" && u.Path != "/":
		return bad("%q holds a path; the CA's endpoints are at the root of its address", u.Redacted())
	}
	return &url.URL{Scheme: "https", Host: strings.ToLower(u.Host)}, nil
}

func parseFingerprint(s string) (fp [sha256.Size]byte, err error) {
	digits := strings.NewReplacer(":", "", "-", "", " ", "").Replace(s)
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != sha256.Size {
		return fp, &fault.ConfigError{Field: "Fingerprint", Err: fmt.Errorf(
			"%q is not a SHA-256 in hexadecimal (64 digits, this has %d); `step certificate fingerprint root_ca.crt` prints it", s, len(digits))}
	}
	return [sha256.Size]byte(b), nil
}
