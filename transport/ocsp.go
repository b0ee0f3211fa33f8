package transport

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ocsp"
)

// ocspSkew is how far in the future a response may begin, for clocks that differ.
const ocspSkew = 5 * time.Minute

// ocspMaxAge is how long a response that says good counts if it does not say when the next one comes.
const ocspMaxAge = 7 * 24 * time.Hour

var oidTLSFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24} // RFC 7633 section 6

// statusRequest is the feature of a server that sends a response (RFC 6066 section 8).
const statusRequest = 5

// stapled judges the OCSP response that the leaf of chain came with in a handshake (RFC 6960; RFC 8446 section
// 4.4.2.1). One that says nothing that can be relied on counts as none: refused is who is revoked, and a server
// whose certificate promises a response (RFC 7633) and that sent none that says good.
func stapled(response []byte, chain []*x509.Certificate, server bool, now time.Time) error {
	if len(chain) < 2 {
		return nil // the leaf is trusted as it is: nobody else can revoke it
	}
	leaf, issuer := chain[0], chain[1]
	status, err := ocspStatus(response, leaf, issuer, now)
	switch {
	case err == nil && status == ocsp.Revoked:
		return fmt.Errorf("certificate %x of %q is revoked, as the OCSP response says that came with it", leaf.SerialNumber, leaf.Issuer.String())
	case err == nil && status == ocsp.Good || !server || !promisesStaple(leaf):
		return nil
	case err == nil:
		err = errors.New("the issuer does not know it")
	}
	return fmt.Errorf("certificate %x of %q must come with an OCSP response that says it is good: %w", leaf.SerialNumber, leaf.Issuer.String(), err)
}

// ocspStatus is what a response says of leaf: an error if it is not current, or not the word of issuer.
func ocspStatus(response []byte, leaf, issuer *x509.Certificate, now time.Time) (int, error) {
	if len(response) == 0 {
		return 0, errors.New("none came")
	}
	r, err := ocsp.ParseResponseForCert(response, leaf, issuer)
	if err != nil {
		return 0, err
	}
	if by := r.Certificate; by != nil && !by.Equal(issuer) { // RFC 6960 section 4.2.2.2
		if !slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
			return 0, errors.New("its signer may not sign OCSP responses")
		}
		if now.Before(by.NotBefore) || now.After(by.NotAfter) {
			return 0, errors.New("its signer's certificate is out of date")
		}
	}
	if r.ThisUpdate.After(now.Add(ocspSkew)) || (!r.NextUpdate.IsZero() && now.After(r.NextUpdate)) {
		return 0, fmt.Errorf("it holds from %s to %s", r.ThisUpdate.UTC().Format(time.RFC3339), r.NextUpdate.UTC().Format(time.RFC3339))
	}
	if r.Status == ocsp.Good && r.NextUpdate.IsZero() && now.After(r.ThisUpdate.Add(ocspMaxAge)) {
		return 0, fmt.Errorf("it is of %s and names no end: it counts for %v", r.ThisUpdate.UTC().Format(time.RFC3339), ocspMaxAge)
	}
	return r.Status, nil
}

// promisesStaple reports whether leaf names the feature status_request (RFC 7633 section 4.1). A list of features
// that cannot be read may name it.
func promisesStaple(leaf *x509.Certificate) bool {
	for _, x := range leaf.Extensions {
		if !x.Id.Equal(oidTLSFeature) {
			continue
		}
		var features []int
		if rest, err := asn1.Unmarshal(x.Value, &features); err != nil || len(rest) > 0 || slices.Contains(features, statusRequest) {
			return true
		}
	}
	return false
}

// An unstapledSessions is the session cache of one connection. It keeps no session with a server that sends OCSP
// responses or promises to: a resumed handshake brings none, and repeats that of the first, however old.
type unstapledSessions struct {
	tls.ClientSessionCache
	stapled atomic.Bool
}

func (s *unstapledSessions) Put(key string, cs *tls.ClientSessionState) {
	if s.stapled.Load() {
		cs = nil
	}
	s.ClientSessionCache.Put(key, cs)
}
