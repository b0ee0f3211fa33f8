package file

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/sdk"
)

// Identity is a certificate chain and its key in files: two of PEM, one of PEM with both, or one of PKCS #12.
//
// The key is PKCS #8 (encrypted too, with PBES2), PKCS #1, SEC 1 or OpenSSH in PEM, or one of the first three in
// DER. The leaf is the certificate that the key belongs to, wherever it stands; the chain is put into order, leaf
// first, and certificates that are not part of it are left out with a warning.
//
// A certificate without its key, one that is not valid now, or that may not be used by a client (no clientAuth in
// its extended key usage), is an error, so that sdk keeps the identity it has. Replacing certificate and key one
// after the other is therefore safe: the old pair serves until both files are there.
//
// Use it through a pointer. It is safe for concurrent use; its fields must not change once it is in use. Errors
// wrap sdk.ErrNotFound, ErrPermission, ErrMaterial (does not parse, does not match, is not valid yet), ErrExpired,
// ErrConfig (no path), ErrUnavailable, or what Passphrase returned.
type Identity struct {
	Cert string // PEM chain, or PKCS #12 with the key; required
	Key  string // PEM key; "" if Cert holds the key

	// Passphrase unlocks an encrypted key or PKCS #12 file; nil: neither is encrypted.
	Passphrase Passphrase

	// Strict refuses, with ErrPermission, a key that others than the file's owner can read or write. Otherwise
	// that is a warning. Only Unix is checked. Leave it off for secrets that Kubernetes mounts with a fsGroup,
	// which the group can read.
	Strict bool

	Settle time.Duration // how long a file must have been left alone before it is used; default 200 ms, negative: not at all
	Poll   time.Duration // how often Watch reads the files unasked; default 30 s, negative: never
	Logger hclog.Logger  // warnings; nil: silent

	cache cache[*pair]
}

var (
	_ sdk.IdentityProvider = (*Identity)(nil)
	_ sdk.Watcher          = (*Identity)(nil)
	_ sdk.Validator        = (*Identity)(nil)
)

// Format prints the path of the certificate alone: the value holds the private key.
func (i *Identity) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "file.Identity{%s}", i.Cert) }

// Identity reads the files.
func (i *Identity) Identity(ctx context.Context) (*sdk.Identity, error) {
	if err := i.Validate(); err != nil {
		return nil, err
	}
	blobs, at, err := read(ctx, i.inputs(), i.Settle)
	if err != nil {
		return nil, err
	}
	p, err := i.cache.get(ctx, at, func() (*pair, error) { return i.parse(ctx, blobs) })
	if err != nil {
		return nil, err
	}
	if err := checkLeaf(p.chain[0], i.Cert, time.Now()); err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: p.key, Leaf: p.chain[0]}
	for _, c := range p.chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return &sdk.Identity{Certificate: cert}, nil
}

// Validate reports a missing path. It opens nothing.
func (i *Identity) Validate() error {
	if i.Cert == "" {
		return noPath("Identity.Cert")
	}
	return nil
}

// Watch calls changed when the files differ from what they were, and once when it begins to see changes. It
// returns when ctx ends, with ctx's error.
func (i *Identity) Watch(ctx context.Context, changed func()) error {
	if err := i.Validate(); err != nil {
		return err
	}
	return watch(ctx, i.inputs(), i.Settle, i.Poll, i.Logger, &i.cache.pulls, changed)
}

const (
	kindCert = "certificate"
	kindKey  = "private key"
)

func (i *Identity) inputs() []input {
	all := []input{{kind: kindCert, path: i.Cert, limit: maxKeyFile}}
	if i.Key != "" && i.Key != i.Cert {
		all = append(all, input{kind: kindKey, path: i.Key, limit: maxKeyFile})
	}
	return all
}

// A pair is a key and the chain of its certificate, leaf first. It is not changed once made.
type pair struct {
	chain []*x509.Certificate
	key   crypto.Signer
}

func (i *Identity) parse(ctx context.Context, blobs []blob) (*pair, error) {
	u := &unlocker{ctx: ctx, ask: i.Passphrase}
	certFile, keyFile := blobs[0], blobs[len(blobs)-1]
	certs, key, err := parseIdentityFile(certFile, u)
	if err != nil {
		return nil, err
	}
	if len(blobs) > 1 {
		if key != nil {
			warn(i.Logger, "the certificate's file holds a private key too, which is not used", "path", certFile.path)
			if err := checkMode(certFile, i.Strict, i.Logger); err != nil {
				return nil, err
			}
		}
		keyCerts, own, err := parseIdentityFile(keyFile, u)
		if err != nil {
			return nil, err
		}
		if own == nil && key != nil && len(certs) == 0 && len(keyCerts) > 0 {
			return nil, bad(sdk.ErrMaterial, kindCert, certFile.path, "holds the private key, and %s the certificate; exchange Cert and Key", keyFile.path)
		}
		key = own
	}
	if len(certs) == 0 {
		return nil, bad(sdk.ErrMaterial, kindCert, certFile.path, "holds no certificate; put the chain there, leaf first")
	}
	if key == nil {
		if len(blobs) == 1 {
			return nil, bad(sdk.ErrMaterial, kindCert, certFile.path, "holds a certificate and no private key; name the key's file in Key, or put both into this one")
		}
		return nil, bad(sdk.ErrMaterial, kindKey, keyFile.path, "holds a certificate and no private key; put the key there")
	}
	if err := checkMode(keyFile, i.Strict, i.Logger); err != nil {
		return nil, err
	}
	chain, left := order(certs, key)
	if chain == nil {
		return nil, bad(sdk.ErrMaterial, kindCert, certFile.path, "none of its certificates belongs to the private key in %s; if one was replaced, replace the other too", keyFile.path)
	}
	for _, c := range left {
		warn(i.Logger, "left out a certificate that is not part of the chain", "path", certFile.path, "subject", c.Subject.String())
	}
	return &pair{chain: chain, key: key}, nil
}

// parseIdentityFile returns what a file holds; the key may be nil and certificates none.
func parseIdentityFile(b blob, u *unlocker) ([]*x509.Certificate, crypto.Signer, error) {
	certs, key, err := identityFile(b.data, u)
	if err == nil {
		return certs, key, nil
	}
	if pass := (*passphraseError)(nil); errors.As(err, &pass) {
		if ctxErr := u.ctx.Err(); ctxErr != nil {
			return nil, nil, ctxErr
		}
		return nil, nil, badPassphrase(b, pass)
	}
	return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "%v", err)
}

func identityFile(data []byte, u *unlocker) ([]*x509.Certificate, crypto.Signer, error) {
	if !isPEM(data) && isDER(data) {
		if isPKCS12(data) {
			key, certs, err := parsePKCS12(data, u)
			return certs, key, err
		}
		if c, err := x509.ParseCertificate(data); err == nil {
			return []*x509.Certificate{c}, nil, nil
		}
		key, err := keyFromDER(data, u)
		return nil, key, err
	}
	all, err := blocks(data)
	if err != nil {
		return nil, nil, err
	}
	var certs []*x509.Certificate
	for n, block := range all {
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, certificateError(n, err)
		}
		certs = append(certs, c)
	}
	key, err := keyFromPEM(all, u)
	if err != nil {
		return nil, nil, err
	}
	if key == nil && len(certs) == 0 {
		return nil, nil, unknownKinds(all)
	}
	return certs, key, nil
}

// checkMode holds the file of a private key against its permissions.
func checkMode(b blob, strict bool, logger hclog.Logger) error {
	if !loose(b.mode) {
		return nil
	}
	if strict {
		return bad(sdk.ErrPermission, b.kind, b.path, "others than its owner can read or write it (mode %04o); chmod 600 it", b.mode.Perm())
	}
	warn(logger, "others than its owner can read or write a private key", "path", b.path, "mode", b.mode.Perm().String(), "cure", "chmod 600")
	return nil
}

// checkLeaf refuses what no peer would accept.
func checkLeaf(leaf *x509.Certificate, path string, now time.Time) error {
	if now.After(leaf.NotAfter) {
		return bad(sdk.ErrExpired, kindCert, path, "expired at %s; renew it", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(leaf.NotBefore) {
		return bad(sdk.ErrMaterial, kindCert, path, "is not valid before %s; is the clock right?", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 &&
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return bad(sdk.ErrMaterial, kindCert, path, "may not be used by a client; have one issued with clientAuth (and serverAuth) in its extended key usage")
	}
	return nil
}
