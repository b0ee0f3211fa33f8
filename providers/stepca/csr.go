package stepca

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/alphaonedev/federation/internal/fault"
)

// sans sorts names into the kinds of subject alternative names (RFC 5280 §4.2.1.6).
type sans struct {
	dns   []string
	ips   []net.IP
	mails []string
	uris  []*url.URL
}

// parseNames reports every name that is none.
func parseNames(names []string) (s sans, err error) {
	var errs []error
	for i, n := range names {
		bad := func(why string) {
			errs = append(errs, &fault.ConfigError{Field: fmt.Sprintf("Names[%d]", i), Err: fmt.Errorf("%q %s", n, why)})
		}
		switch {
		case n == "":
			bad("is empty; remove it")
		case slices.Contains(names[:i], n):
			bad("is there twice; remove one")
		case net.ParseIP(n) != nil:
			s.ips = append(s.ips, net.ParseIP(n))
		case strings.Contains(n, "://") || strings.HasPrefix(n, "urn:"):
			u, err := url.Parse(n)
			if err != nil {
				bad("is not a URI")
				continue
			}
			s.uris = append(s.uris, u)
		case strings.Contains(n, "@"):
			s.mails = append(s.mails, n)
		case strings.ContainsAny(n, " /:\\\x00") || len(n) > 253:
			bad("is no DNS name, IP address, URI or e-mail address")
		default:
			s.dns = append(s.dns, strings.ToLower(n))
		}
	}
	return s, errors.Join(errs...)
}

// certificateRequest makes a PKCS #10 request for r, signed by its key.
func certificateRequest(r request) (*x509.CertificateRequest, error) {
	s, err := parseNames(r.names)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: r.subject},
		DNSNames: s.dns, IPAddresses: s.ips, EmailAddresses: s.mails, URIs: s.uris,
	}, r.key)
	if err != nil {
		return nil, fmt.Errorf("%w: the key cannot sign a certificate request: %w", fault.ErrConfig, err)
	}
	return x509.ParseCertificateRequest(der)
}

// namesOf lists the subject alternative names of a certificate, as parseNames takes them.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	names = append(names, c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}

// missing returns the wanted names that have lacks. IP addresses and the case of DNS names are compared as such.
func missing(want, have []string) []string {
	norm := func(s string) string {
		if ip := net.ParseIP(s); ip != nil {
			return ip.String()
		}
		if strings.Contains(s, "://") || strings.Contains(s, "@") {
			return s
		}
		return strings.ToLower(s)
	}
	set := map[string]bool{}
	for _, h := range have {
		set[norm(h)] = true
	}
	var out []string
	for _, w := range want {
		if !set[norm(w)] {
			out = append(out, w)
		}
	}
	return out
}
