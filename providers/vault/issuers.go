package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A mountState is what one PKI mount last answered.
type mountState struct {
	issuers []*issuer // in the order of their ids, so that equal answers make equal bundles
}

// An issuer is one issuer of a mount. Its certificate never changes under one id.
type issuer struct {
	id, name string
	cert     *x509.Certificate
	crl      *x509.RevocationList // nil: none
	fetched  time.Time            // crl's, by Vault's clock; zero: unknown
	polled   int                  // times that crl was found unchanged since
}

const (
	// A CRL that changed while it was being read is fetched again, whatever second it changed in and
	// however far the clocks of a cluster are apart.
	crlMargin = 2 * time.Minute
	// Once in so many polls a CRL is fetched without a condition.
	crlFull = 12
)

func (t *Trust) pullMount(ctx context.Context, mount string, last *mountState) (*mountState, error) {
	ns := t.client.namespaceOf(t.opts.Namespace)
	var list struct {
		Keys []string `json:"keys"`
		Info map[string]struct {
			Name string `json:"issuer_name"`
		} `json:"key_info"`
	}
	err := t.client.data(ctx, call{
		what: "list the issuers", namespace: ns, path: join(mount, "issuers"),
		params: map[string][]string{"list": {"true"}}, anonymous: true,
	}, &list)
	if err != nil {
		return nil, explainMount(err, mount)
	}
	wanted := map[string]bool{}
	for _, ref := range t.opts.Issuers {
		wanted[ref] = false
	}
	next := &mountState{}
	slices.Sort(list.Keys)
	for _, id := range list.Keys {
		if checkName(id, false) != nil {
			return nil, &callError{op: "list the issuers of " + mount, msg: "an id is malformed", kind: fault.ErrMaterial}
		}
		name := list.Info[id].Name
		if len(wanted) > 0 {
			_, byID := wanted[id]
			_, byName := wanted[name]
			if !byID && (name == "" || !byName) {
				continue
			}
		}
		i, err := t.pullIssuer(ctx, ns, mount, id, last)
		if noIssuer(err) {
			continue // deleted since the list was made
		}
		if err != nil {
			return nil, err
		}
		i.name = name
		next.issuers = append(next.issuers, i)
	}
	if len(next.issuers) == 0 {
		if len(wanted) > 0 {
			return nil, &callError{op: "list the issuers of " + mount, msg: "none is called " + strings.Join(t.opts.Issuers, " or "), kind: fault.ErrNotFound}
		}
		return nil, &callError{op: "list the issuers of " + mount, msg: "there is none; generate or import a CA", kind: fault.ErrNotFound}
	}
	return next, nil
}

func (t *Trust) pullIssuer(ctx context.Context, ns, mount, id string, last *mountState) (*issuer, error) {
	i := &issuer{id: id}
	if old := last.find(id); old != nil {
		*i = *old
	}
	if i.cert == nil {
		var found struct {
			Certificate string `json:"certificate"`
		}
		err := t.client.data(ctx, call{
			what: "read an issuer", namespace: ns, path: join(mount, "issuer", id, "json"), anonymous: true,
		}, &found)
		if err != nil {
			return nil, err
		}
		certs, err := parseCertificates([]byte(found.Certificate))
		if err != nil || len(certs) != 1 || !certs[0].IsCA {
			return nil, &callError{op: "read an issuer at " + join(mount, "issuer", id), msg: "the answer is not one CA certificate", kind: fault.ErrMaterial}
		}
		i.cert = certs[0]
	}
	if t.opts.NoCRLs {
		i.crl = nil
		return i, nil
	}
	return i, t.pullCRL(ctx, ns, mount, i)
}

// pullCRL fetches an issuer's CRL. An issuer without a key in Vault has none. One that had a CRL keeps it
// when Vault stops serving it: a CRL that is missing does not mean that nothing is revoked.
func (t *Trust) pullCRL(ctx context.Context, ns, mount string, i *issuer) error {
	where := join(mount, "issuer", i.id, "crl", "der")
	r := call{what: "read a CRL", namespace: ns, path: where, anonymous: true}
	if i.crl != nil && !i.fetched.IsZero() && i.polled < crlFull {
		r.since = i.fetched.Add(-crlMargin).UTC().Format(http.TimeFormat)
	}
	a, err := t.client.do(ctx, r)
	switch {
	case noCRL(err):
		return nil
	case err != nil:
		return err
	case a.status == http.StatusNotModified:
		i.polled++
		return nil
	case len(a.body) == 0:
		return nil
	}
	crl, err := x509.ParseRevocationList(a.body)
	if err != nil {
		return &callError{op: "read a CRL at " + where, msg: "the answer is not a CRL", kind: fault.ErrMaterial}
	}
	if err := crl.CheckSignatureFrom(i.cert); err != nil {
		return &callError{op: "read a CRL at " + where, msg: fmt.Sprintf("the CRL is not signed by its issuer %q", i.cert.Subject), kind: fault.ErrMaterial}
	}
	if i.crl != nil && i.crl.Number != nil && crl.Number != nil && crl.Number.Cmp(i.crl.Number) < 0 {
		if !crl.ThisUpdate.After(i.crl.ThisUpdate) {
			return &callError{op: "read a CRL at " + where, msg: "the CRL is older than the one before it", kind: fault.ErrMaterial}
		}
		// What it no longer revokes is for the federation to decide: Status().Held.
		t.client.cfg.Logger.Warn("vault has made a CRL with a lower number than the one before, as a restored backup does",
			"issuer", i.cert.Subject.String(), "number", crl.Number, "before", i.crl.Number)
	}
	i.crl, i.fetched, i.polled = crl, a.date, 0
	return nil
}

// noIssuer recognises Vault's answer about an issuer that there is no more.
func noIssuer(err error) bool {
	ce, ok := errors.AsType[*callError](err)
	return ok && ce.status == http.StatusInternalServerError && strings.Contains(ce.msg, noSuchIssuer)
}

// noCRL recognises Vault's answer about an issuer whose key it does not hold.
func noCRL(err error) bool {
	ce, ok := errors.AsType[*callError](err)
	return ok && (ce.status == http.StatusNotFound && errors.Is(ce, fault.ErrNotFound) ||
		ce.status == http.StatusInternalServerError && strings.Contains(ce.msg, "unable to find CRL for issuer"))
}

func (m *mountState) find(id string) *issuer {
	if m == nil {
		return nil
	}
	for _, i := range m.issuers {
		if i.id == id {
			return i
		}
	}
	return nil
}

// anchors returns all certificates, or those that stand for themselves: no other one of the mount has signed
// them, and none is the same authority's own root.
func (m *mountState) anchors(all bool) []*x509.Certificate {
	var out []*x509.Certificate
	for _, i := range m.issuers {
		if all || selfSigned(i.cert) || !m.signed(i.cert) && !m.hasRootOf(i.cert) {
			out = append(out, i.cert)
		}
	}
	return out
}

func (m *mountState) signed(c *x509.Certificate) bool {
	for _, i := range m.issuers {
		if string(i.cert.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(i.cert) == nil {
			return true
		}
	}
	return false
}

// hasRootOf reports whether the mount has a self-signed certificate of the same name and key: c is then the one
// that another root has signed, for peers that know only that.
func (m *mountState) hasRootOf(c *x509.Certificate) bool {
	for _, i := range m.issuers {
		if string(i.cert.RawSubject) == string(c.RawSubject) && selfSigned(i.cert) &&
			string(i.cert.RawSubjectPublicKeyInfo) == string(c.RawSubjectPublicKeyInfo) {
			return true
		}
	}
	return false
}

func (m *mountState) crls() []*x509.RevocationList {
	var out []*x509.RevocationList
	for _, i := range m.issuers {
		if i.crl != nil {
			out = append(out, i.crl)
		}
	}
	return out
}

// explainMount adds the cure to Vault's answers about a path that no mount serves. Issuers are served to anyone, so
// that a 403 about them is such an answer too: Vault tells a stranger no more.
func explainMount(err error, mount string) error {
	ce, ok := errors.AsType[*callError](err)
	if ok && ce.status == http.StatusForbidden && ce.anonymous {
		ce.kind = fault.ErrConfig
	} else if !ok || !ce.noMount() {
		return err
	}
	ce.msg = fmt.Sprintf("nothing is mounted at %q that answers this (check Mount and Namespace): %s", mount, ce.msg)
	return err
}
