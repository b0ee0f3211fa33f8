package file

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/sdk"
)

// Trust is a trust bundle in files: CA certificates in PEM, or one in DER, with the revocation lists (CRLs) of
// those CAs beside them.
//
// A path may be a folder. Its files that are named *.pem, *.crt, *.cer, *.der or *.crl, or by a hash as
// OpenSSL does, are read, every one of them, and no others; files in sub-folders are not.
//
// Certificates that are no CA's are left out with a warning; a path that has nothing else is an error, as is a file
// that holds a private key. Every certificate that remains becomes a trust anchor, intermediates too. CRLs that the
// files hold are in force together with those of the CRLs field. A CRL that a CA in the bundle should have signed
// and did not is an error; so is a CRL that cannot be read: that is never taken for "nothing is revoked".
//
// Use it through a pointer. It is safe for concurrent use; its fields must not change once it is in use. Errors
// wrap sdk.ErrNotFound, ErrPermission, ErrMaterial, ErrExpired (no root is valid any longer), ErrConfig (no path)
// or ErrUnavailable.
type Trust struct {
	Path  string   // file or folder with CA certificates; this or Paths is required
	Paths []string // more of them; all are united
	CRLs  []string // files or folders with revocation lists, in PEM or DER

	Settle time.Duration // how long a file must have been left alone before it is used; default 200 ms, negative: not at all
	Poll   time.Duration // how often Watch reads the files unasked; default 30 s, negative: never
	Logger hclog.Logger  // warnings; nil: silent

	cache cache[*trustFiles]
}

var (
	_ sdk.TrustProvider = (*Trust)(nil)
	_ sdk.Watcher       = (*Trust)(nil)
	_ sdk.Validator     = (*Trust)(nil)
)

// TrustBundle reads the files.
func (t *Trust) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	blobs, at, err := read(ctx, t.inputs(), t.Settle)
	if err != nil {
		return nil, err
	}
	found, err := t.cache.get(ctx, at, func() (*trustFiles, error) { return parseTrust(blobs, t.Logger) })
	if err != nil {
		return nil, err
	}
	if err := found.check(time.Now()); err != nil {
		return nil, err
	}
	return &sdk.TrustBundle{Roots: slices.Clone(found.roots), CRLs: slices.Clone(found.crls)}, nil
}

// Validate reports a missing path. It opens nothing.
func (t *Trust) Validate() error {
	if t.Path == "" && len(t.Paths) == 0 {
		return noPath("Trust.Path")
	}
	for i, p := range t.Paths {
		if p == "" {
			return noPath(fmt.Sprintf("Trust.Paths[%d]", i))
		}
	}
	for i, p := range t.CRLs {
		if p == "" {
			return noPath(fmt.Sprintf("Trust.CRLs[%d]", i))
		}
	}
	return nil
}

// Watch calls changed when the files differ from what they were, and once when it begins to see changes. It
// returns when ctx ends, with ctx's error.
func (t *Trust) Watch(ctx context.Context, changed func()) error {
	if err := t.Validate(); err != nil {
		return err
	}
	return watch(ctx, t.inputs(), t.Settle, t.Poll, t.Logger, &t.cache.pulls, changed)
}

const (
	kindCA  = "CA file"
	kindCRL = "CRL file"
)

func (t *Trust) inputs() []input {
	var all []input
	for _, p := range append([]string{t.Path}, t.Paths...) {
		if p != "" {
			all = append(all, input{kind: kindCA, path: p, limit: maxTrustFile, pick: isTrustName})
		}
	}
	for _, p := range t.CRLs {
		all = append(all, input{kind: kindCRL, path: p, limit: maxCRLFile, pick: isCRLName})
	}
	return all
}

// trustFiles is what the files hold. It is not changed once made.
type trustFiles struct {
	roots []*x509.Certificate
	crls  []*x509.RevocationList
	where string // the first path, for messages
}

// check holds the roots against the time.
func (f *trustFiles) check(now time.Time) error {
	var first, last time.Time // the earliest start, the latest end
	for _, c := range f.roots {
		if !now.Before(c.NotBefore) && !now.After(c.NotAfter) {
			return nil
		}
		if first.IsZero() || c.NotBefore.Before(first) {
			first = c.NotBefore
		}
		if c.NotAfter.After(last) {
			last = c.NotAfter
		}
	}
	if now.Before(first) {
		return bad(sdk.ErrMaterial, kindCA, f.where, "none of its %d CA certificates is valid before %s; is the clock right?",
			len(f.roots), first.UTC().Format(time.RFC3339))
	}
	return bad(sdk.ErrExpired, kindCA, f.where, "none of its %d CA certificates is valid today, the last ended at %s; put current ones there",
		len(f.roots), last.UTC().Format(time.RFC3339))
}
