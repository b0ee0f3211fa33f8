package stepca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/ca"

	"github.com/alphaonedev/federation/internal/fault"
)

// A JWK enrols through a JWK provisioner, minting a one-time token for each attempt. The provisioner's key is either
// what the CA keeps, encrypted under Password, or Key.
type JWK struct {
	// Provisioner is its name at the CA. Required.
	Provisioner string
	// Password gives the password of the provisioner's key. It is called once for each attempt; its result is wiped
	// afterwards. White space at its end does not matter, as for step itself: it may be a file's content. Required without
	// Key.
	Password func(ctx context.Context) ([]byte, error)
	// Key signs tokens instead, wherever it lives. KeyID is required with it.
	Key crypto.Signer
	// KeyID picks one key of the provisioner (`kid`); empty: the first of that name.
	KeyID string
}

func (j JWK) repeatable() bool { return true }

func (j JWK) validate(names []string) error {
	var errs []error
	bad := func(field, what string) {
		errs = append(errs, &fault.ConfigError{Field: "Enrolment.(JWK)." + field, Err: errors.New(what)})
	}
	if j.Provisioner == "" {
		bad("Provisioner", "is empty; `step ca provisioner list` names them")
	}
	switch {
	case j.Password == nil && j.Key == nil:
		bad("Password", "is nil, and so is Key; give the function that reads the provisioner's password")
	case j.Password != nil && j.Key != nil:
		bad("Key", "is set together with Password; choose one")
	case j.Key != nil && j.KeyID == "":
		bad("KeyID", "is empty; with Key it is the provisioner's `kid`")
	}
	if len(names) == 0 {
		errs = append(errs, &fault.ConfigError{Field: "Names", Err: errors.New("is empty; a JWK provisioner signs for names that the token says")})
	}
	return errors.Join(errs...)
}

func (j JWK) enrol(ctx context.Context, c *Client, r request) ([]*x509.Certificate, error) {
	kid, key, err := j.signer(ctx, c)
	if err != nil {
		return nil, err
	}
	csr, err := certificateRequest(r)
	if err != nil {
		return nil, err
	}
	token, err := c.mint(ctx, mintage{issuer: j.Provisioner, key: key, header: joseHeader{Kid: kid}}, r, csr)
	if err != nil {
		return nil, err
	}
	chain, err := c.signCSR(ctx, csr, token, r.lifetime)
	if refused(err) {
		err = fmt.Errorf("the CA does not let the provisioner %q have a certificate for %q (%s): %w", j.Provisioner, r.names, list(
			"its policy or template refuses the names or the lifetime, or the host in URL is none of the CA's `dnsNames`",
			c.clockHint()), err)
	}
	return chain, err
}

// A mintage is who mints a token.
type mintage struct {
	issuer   string
	key      crypto.Signer
	header   joseHeader
	fragment string // of the audience
}

// mint makes a one-time token for r that is bound to csr.
func (c *Client) mint(ctx context.Context, m mintage, r request, csr *x509.CertificateRequest) (string, error) {
	aud := c.audience("/1.0/sign")
	if m.fragment != "" {
		aud += "#" + m.fragment
	}
	cl, err := c.newClaims(m.issuer, r.subject, aud)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(csr.Raw)
	cl.SANs, cl.SHA = r.names, c.fingerprintHex()
	cl.Confirm = &confirmation{CSR: base64.RawURLEncoding.EncodeToString(sum[:])}
	return sign(ctx, m.key, m.header, cl)
}

// signer gives the provisioner's key and its id.
func (j JWK) signer(ctx context.Context, c *Client) (string, crypto.Signer, error) {
	found, err := c.jwkProvisioners(ctx, j.Provisioner)
	if err != nil {
		return "", nil, err
	}
	encrypted := ""
	kid := ""
	for _, p := range found {
		id, enc, _ := p.GetEncryptedKey()
		if j.KeyID == "" || id == j.KeyID {
			kid, encrypted = id, enc
			break
		}
	}
	if kid == "" {
		return "", nil, fmt.Errorf("%w: the provisioner %q of the CA at %s has no key with the id %q; leave KeyID empty, or see "+
			"`step ca provisioner list`", fault.ErrPermission, j.Provisioner, c.url.Host, j.KeyID)
	}
	if j.Key != nil {
		return kid, j.Key, nil
	}
	if encrypted == "" {
		return "", nil, fmt.Errorf("%w: the CA does not hand out the key of the provisioner %q; use Key, or another Enrolment",
			fault.ErrPermission, j.Provisioner)
	}
	password, err := j.Password(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("%w: reading the password of the provisioner %q: %w", fault.ErrUnavailable, j.Provisioner, err)
	}
	defer clear(password)
	key, err := decryptJWK(encrypted, password)
	if trimmed := bytes.TrimRightFunc(password, unicode.IsSpace); err != nil && len(trimmed) < len(password) {
		key, err = decryptJWK(encrypted, trimmed) // the file that it came from ends with a newline
	}
	if err != nil {
		return "", nil, fmt.Errorf("%w: the password does not open the key %s of the provisioner %q; check it", fault.ErrPermission, kid, j.Provisioner)
	}
	return kid, key, nil
}

// decryptJWK opens a private key in JWE (RFC 7516). Its error may quote what was decrypted, so callers drop it.
func decryptJWK(encrypted string, password []byte) (crypto.Signer, error) {
	jwe, err := jose.ParseEncrypted(encrypted,
		[]jose.KeyAlgorithm{jose.PBES2_HS256_A128KW, jose.PBES2_HS384_A192KW, jose.PBES2_HS512_A256KW},
		[]jose.ContentEncryption{jose.A128GCM, jose.A192GCM, jose.A256GCM, jose.A128CBC_HS256, jose.A256CBC_HS512})
	if err != nil {
		return nil, err
	}
	plain, err := jwe.Decrypt(password)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(plain, &jwk); err != nil {
		return nil, err
	}
	switch key := jwk.Key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("not a key that signs")
}

// jwkProvisioners gives the JWK provisioners of one name; one at least.
func (c *Client) jwkProvisioners(ctx context.Context, name string) ([]provisioner.Interface, error) {
	all, err := c.provisioners(ctx)
	if err != nil {
		return nil, err
	}
	var found []provisioner.Interface
	var names []string
	for _, p := range all {
		switch {
		case p.GetName() == name && p.GetType() == provisioner.TypeJWK:
			found = append(found, p)
		case p.GetName() == name:
			return nil, fmt.Errorf("%w: the provisioner %q of the CA at %s is of type %s, not JWK; use the Enrolment for it",
				fault.ErrPermission, name, c.url.Host, p.GetType())
		case p.GetType() == provisioner.TypeJWK:
			names = append(names, p.GetName())
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: the CA at %s has no provisioner %q (any more); its JWK provisioners are %.256q",
			fault.ErrPermission, c.url.Host, name, names)
	}
	return found, nil
}

// provisioner looks for one to explain a refusal. It is taken to be there where the CA does not say.
func (c *Client) provisioner(ctx context.Context, kind provisioner.Type, name string) (provisioner.Interface, bool) {
	all, err := c.provisioners(ctx)
	if err != nil {
		return nil, true
	}
	for _, p := range all {
		if p.GetType() == kind && p.GetName() == name {
			return p, true
		}
	}
	return nil, false
}

// provisioners lists all provisioners of the CA.
func (c *Client) provisioners(ctx context.Context) (provisioner.List, error) {
	var all provisioner.List
	cursor := ""
	for range 100 { // pages of 100
		var page *api.ProvisionersResponse
		err := c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
			page, err = a.ca.ProvisionersWithContext(ctx, ca.WithProvisionerCursor(cursor), ca.WithProvisionerLimit(100))
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Provisioners...)
		if page.NextCursor == "" || page.NextCursor == cursor {
			break
		}
		cursor = page.NextCursor
	}
	return all, nil
}
