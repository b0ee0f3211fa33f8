package vault

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// signed is Vault's answer to a signing request.
type signed struct {
	Certificate string   `json:"certificate"`
	IssuingCA   string   `json:"issuing_ca"`
	CAChain     []string `json:"ca_chain"`
}

// A checker collects what is wrong with a certificate.
type checker struct {
	op    string
	kind  error
	found []string
}

func (c *checker) bad(kind error, format string, args ...any) {
	if c.kind == nil || kind == fault.ErrMaterial {
		c.kind = kind
	}
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *checker) err() error {
	if c.kind == nil {
		return nil
	}
	return &callError{op: c.op, msg: strings.Join(c.found, "; "), kind: c.kind}
}

// check holds the answer against the request and returns the chain to present, leaf first. What only
// another role or other options can cure is ErrConfig.
func (i *Identity) check(got signed, pub crypto.PublicKey, sent time.Time) ([]*x509.Certificate, error) {
	o := i.opts
	c := &checker{op: fmt.Sprintf("check the certificate that role %q of %s signed", o.Role, o.Mount)}
	leaves, err := parseCertificates([]byte(got.Certificate))
	if err != nil || len(leaves) != 1 {
		c.bad(fault.ErrMaterial, "the answer is not one certificate")
		return nil, c.err()
	}
	leaf := leaves[0]
	if k, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(leaf.PublicKey) {
		c.bad(fault.ErrMaterial, "it is for another key than the one asked for")
	}
	if leaf.IsCA {
		c.bad(fault.ErrConfig, "it is a CA certificate")
	}
	c.names("DNS name", dnsNames(o.DNS), dnsNames(leaf.DNSNames))
	c.names("IP address", strings.FieldsFunc(joinIPs(o), comma), ipStrings(leaf))
	c.names("URI", uriStrings(i.request().URIs), uriStrings(leaf.URIs))
	c.names("e-mail address", nil, leaf.EmailAddresses)
	if o.CommonName != "" && leaf.Subject.CommonName != o.CommonName {
		c.bad(fault.ErrConfig, "its common name is %q, asked for was %q", leaf.Subject.CommonName, o.CommonName)
	}
	for _, use := range o.Usage {
		if !slices.Contains(leaf.ExtKeyUsage, use) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
			c.bad(fault.ErrConfig, "it does not allow %v: set %s on the role", usageName(use), usageFlag(use))
		}
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		c.bad(fault.ErrConfig, "it does not allow signatures: add DigitalSignature to the role's key_usage")
	}
	chain := chainOf(leaf, append([]string{got.IssuingCA}, got.CAChain...))
	if chain == nil {
		c.bad(fault.ErrMaterial, "no certificate of the answer has signed it")
		return nil, c.err()
	}
	i.checkLife(c, leaf, chain[1:], sent)
	if last := len(chain) - 1; last > 0 && selfSigned(chain[last]) {
		chain = chain[:last] // peers hold the root themselves
	}
	return chain, c.err()
}

// checkLife compares with the leaf's own span where it can, which needs no clocks to agree.
func (i *Identity) checkLife(c *checker, leaf *x509.Certificate, issuers []*x509.Certificate, sent time.Time) {
	const skew = time.Minute
	now := time.Now()
	switch {
	case !leaf.NotAfter.After(now):
		c.bad(fault.ErrMaterial, "it has expired already, at %v: is the clock right?", leaf.NotAfter)
	case leaf.NotBefore.After(now.Add(skew)):
		c.bad(fault.ErrMaterial, "it is valid only from %v on: is the clock right?", leaf.NotBefore)
	}
	ttl := i.opts.TTL.Truncate(time.Second)
	if ttl == 0 || leaf.NotAfter.Sub(leaf.NotBefore) >= ttl && !leaf.NotAfter.Before(sent.Add(ttl-skew)) {
		return
	}
	for _, ca := range issuers {
		if d := ca.NotAfter.Sub(leaf.NotAfter); d >= 0 && d < skew {
			i.client.cfg.Logger.Warn("the certificate ends with its issuer, sooner than was asked for; renew the CA",
				"issuer", ca.Subject.String(), "not_after", leaf.NotAfter, "asked", ttl)
			return
		}
	}
	c.bad(fault.ErrConfig, "it lives %v, asked for was %v: ask for less, or raise max_ttl of the role and the mount",
		leaf.NotAfter.Sub(sent).Round(time.Second), ttl)
}

// names compares as sets. A name that is missing is one that peers know us by; one too many is a name we did
// not mean to answer to.
func (c *checker) names(what string, asked, got []string) {
	for _, s := range asked {
		if !slices.Contains(got, s) {
			c.bad(fault.ErrConfig, "the %s %q is missing: the role drops it (use_csr_sans, allowed_domains, allowed_uri_sans, allow_ip_sans)", what, s)
		}
	}
	for _, s := range got {
		if !slices.Contains(asked, s) {
			c.bad(fault.ErrConfig, "the %s %q was not asked for", what, s)
		}
	}
}

// chainOf orders the authorities so that each has signed the one before. Where a self-signed and a
// cross-signed certificate hold the same key, the cross-signed one is taken: peers that know only the older
// root need it, and the others can do without.
func chainOf(leaf *x509.Certificate, authorities []string) []*x509.Certificate {
	var pool []*x509.Certificate
	for _, text := range authorities {
		certs, err := parseCertificates([]byte(text))
		if err != nil {
			return nil
		}
		pool = append(pool, certs...)
	}
	slices.SortStableFunc(pool, func(a, b *x509.Certificate) int {
		switch sa, sb := selfSigned(a), selfSigned(b); {
		case sa == sb:
			return 0
		case sb:
			return -1
		default:
			return 1
		}
	})
	chain := []*x509.Certificate{leaf}
	for last := leaf; !selfSigned(last); {
		n := slices.IndexFunc(pool, func(c *x509.Certificate) bool {
			return string(c.RawSubject) == string(last.RawIssuer) && last.CheckSignatureFrom(c) == nil &&
				!slices.ContainsFunc(chain, c.Equal)
		})
		if n < 0 {
			break
		}
		last = pool[n]
		chain = append(chain, last)
	}
	if len(chain) == 1 {
		return nil
	}
	return chain
}

func comma(r rune) bool { return r == ',' }

func dnsNames(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, strings.ToLower(n))
	}
	return out
}

func ipStrings(c *x509.Certificate) []string {
	var out []string
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

func uriStrings[T fmt.Stringer](uris []T) []string {
	var out []string
	for _, u := range uris {
		out = append(out, u.String())
	}
	return out
}

func usageName(u x509.ExtKeyUsage) string {
	switch u {
	case x509.ExtKeyUsageClientAuth:
		return "client authentication"
	case x509.ExtKeyUsageServerAuth:
		return "server authentication"
	default:
		return fmt.Sprintf("extended key usage %d", u)
	}
}

func usageFlag(u x509.ExtKeyUsage) string {
	switch u {
	case x509.ExtKeyUsageClientAuth:
		return "client_flag"
	case x509.ExtKeyUsageServerAuth:
		return "server_flag"
	default:
		return "ext_key_usage"
	}
}
