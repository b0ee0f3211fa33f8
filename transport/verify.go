package transport

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// A verdict is the acceptance of a certificate chain by a snapshot.
type verdict struct {
	entry *entry
	chain []*x509.Certificate // leaf to root
	until time.Time           // when it must be made again
}

const maxVerdicts = 8192

// verifyOutbound decides whether the certificates are those of e's peer. prev is a chain that an earlier
// snapshot accepted for the same certificates, or nil: while its root is still trusted it need not be built
// again.
func (s *snapshot) verifyOutbound(e *entry, certs []*x509.Certificate, prev []*x509.Certificate, now time.Time) (verdict, error) {
	if len(certs) == 0 {
		return verdict{}, errors.New("the peer sent no certificate")
	}
	v, err := s.chain(e, certs, prev, x509.ExtKeyUsageServerAuth, now)
	if err != nil {
		return verdict{}, err
	}
	if e.ids == nil {
		if err := certs[0].VerifyHostname(hostnameArg(e.name)); err != nil {
			return verdict{}, fmt.Errorf("%w; if it is the peer's, say so with ServerName or IDs", err)
		}
	} else if !hasID(certs[0], e.ids) {
		return verdict{}, fmt.Errorf("certificate for %s has none of the IDs of the peer; if it is the peer's, correct IDs", names(certs[0]))
	}
	if len(e.peer.SPKIPins) > 0 && !pinned(certs[0], e.peer.SPKIPins) {
		return verdict{}, errors.New("the certificate's key is not one of those pinned; if it is the peer's new one, add it to SPKIPins")
	}
	return v, nil
}

// verifyInbound decides which one peer the certificates are of.
func (s *snapshot) verifyInbound(certs []*x509.Certificate, prev []*x509.Certificate, now time.Time) (verdict, error) {
	if len(certs) == 0 {
		return verdict{}, errors.New("the client sent no certificate")
	}
	key := chainKey(certs)
	s.mu.Lock()
	v, ok := s.verdicts[key]
	s.mu.Unlock()
	if ok && now.Before(v.until) && !now.Before(certs[0].NotBefore) {
		return v, nil
	}
	var found *verdict
	var why error
	for _, e := range s.candidates(certs[0]) {
		v, err := s.chain(e, certs, prev, x509.ExtKeyUsageClientAuth, now)
		if err != nil {
			why = fmt.Errorf("as %s: %w", e.peer.Name, err)
			continue
		}
		if found != nil {
			return verdict{}, fmt.Errorf("certificate for %s is that of %s and of %s: a certificate must name one peer",
				names(certs[0]), found.entry.peer.Name, e.peer.Name)
		}
		found = &v
	}
	switch {
	case found != nil:
		s.mu.Lock()
		if len(s.verdicts) >= maxVerdicts {
			clear(s.verdicts)
		}
		s.verdicts[key] = *found
		s.mu.Unlock()
		return *found, nil
	case why != nil:
		return verdict{}, why
	}
	return verdict{}, fmt.Errorf("certificate for %s names no configured peer; if it is a peer's, say so with its ServerName or IDs", names(certs[0]))
}

// candidates returns the peers that the leaf names, each once, whoever issued it.
func (s *snapshot) candidates(leaf *x509.Certificate) []*entry {
	var es []*entry
	add := func(more []*entry) {
	next:
		for _, e := range more {
			for _, have := range es {
				if have == e {
					continue next
				}
			}
			es = append(es, e)
		}
	}
	for _, n := range leaf.DNSNames {
		n = canonicalName(n)
		add(s.byServer[n])
		add(s.byID[n])
	}
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			add(s.byServer[a.Unmap().String()])
		}
	}
	for _, u := range leaf.URIs {
		add(s.byID[canonicalID(u.String())])
	}
	if len(s.byPin) > 0 {
		for _, e := range s.byPin[sha256.Sum256(leaf.RawSubjectPublicKeyInfo)] {
			if e.ids == nil || hasID(leaf, e.ids) {
				add([]*entry{e})
			}
		}
	}
	return es
}

// chain builds and judges the chains of certs under e's scope; one that passes suffices.
func (s *snapshot) chain(e *entry, certs, prev []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (verdict, error) {
	if err := s.distrusts(certs[:1]); err != nil {
		return verdict{}, err
	}
	if len(prev) > 0 && e.scope.roots[string(prev[len(prev)-1].Raw)] {
		if v, err := s.judge(e, prev, now); err == nil {
			return v, nil
		}
	}
	opts := x509.VerifyOptions{Roots: e.scope.pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
	if len(certs) > 1 {
		opts.Intermediates = x509.NewCertPool()
		for _, c := range certs[1:] {
			opts.Intermediates.AddCert(c)
		}
	}
	chains, err := certs[0].Verify(opts)
	if err != nil {
		return verdict{}, cured(err, usage, now)
	}
	var why error
	for _, c := range chains {
		v, err := s.judge(e, c, now)
		if err == nil {
			return v, nil
		}
		why = err
	}
	return verdict{}, cured(why, usage, now)
}

// judge applies what may change while a chain stays what it is: time, revocation, distrust.
func (s *snapshot) judge(e *entry, chain []*x509.Certificate, now time.Time) (verdict, error) {
	v := verdict{entry: e, chain: chain}
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return verdict{}, x509.CertificateInvalidError{Cert: c, Reason: x509.Expired}
		}
		if v.until.IsZero() || c.NotAfter.Before(v.until) {
			v.until = c.NotAfter
		}
	}
	if err := s.distrusts(chain); err != nil {
		return verdict{}, err
	}
	until, err := e.scope.revoked(chain, now, s.strict, s.grace)
	if err != nil {
		return verdict{}, err
	}
	if !until.IsZero() && until.Before(v.until) {
		v.until = until
	}
	return v, nil
}

func chainKey(certs []*x509.Certificate) [32]byte {
	h := sha256.New()
	for _, c := range certs {
		h.Write(c.Raw)
	}
	return [32]byte(h.Sum(nil))
}

func hasID(leaf *x509.Certificate, ids map[string]bool) bool {
	for _, u := range leaf.URIs {
		if ids[canonicalID(u.String())] {
			return true
		}
	}
	for _, n := range leaf.DNSNames {
		if ids[canonicalName(n)] {
			return true
		}
	}
	return false
}

func pinned(leaf *x509.Certificate, pins [][32]byte) bool {
	have := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	for _, p := range pins {
		if p == have {
			return true
		}
	}
	return false
}

// hostnameArg puts an IPv6 address in the brackets that VerifyHostname knows.
func hostnameArg(name string) string {
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

// names lists what a certificate calls itself, for messages.
func names(c *x509.Certificate) string {
	var all []string
	all = append(all, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	for _, u := range c.URIs {
		all = append(all, u.String())
	}
	if len(all) == 0 {
		return "no name"
	}
	if len(all) > 4 {
		all = append(all[:4], "…")
	}
	return strings.Join(all, ", ")
}
