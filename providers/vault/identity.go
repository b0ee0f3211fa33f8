package vault

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// IdentityOptions say which certificate to ask for. Role and at least one name are required.
type IdentityOptions struct {
	Mount     string // the PKI mount; default "pki"
	Role      string // the role that signs
	Issuer    string // by name or id; "": the role's own
	Namespace string // of the mount; "": the client's; "root": the root namespace

	// CommonName is the subject's. "": the first DNS name, since roles ask for one by default.
	CommonName string
	DNS        []string
	IPs        []net.IP
	URIs       []string // such as SPIFFE IDs
	// TTL is the life to ask for; 0: the role's. A certificate that lives shorter than was asked for is
	// refused, unless it ends with its issuer, which is used and logged.
	TTL time.Duration
	// Usage is what the certificate must allow. Default: client and server authentication.
	Usage []x509.ExtKeyUsage

	// KeyType is the kind of the key that is made here, anew for every certificate. Default ECDSAP256.
	KeyType KeyType
	// Key is used instead, for every certificate: a key on disk, in an HSM, in an agent.
	Key crypto.Signer

	// RevokeAfter, if not 0, revokes a certificate that has been replaced, that long after its successor
	// was issued; leave time for connections to move. The policy must then allow "update" on revoke,
	// which lets the node revoke any certificate of the mount. A failure is logged and tried again.
	RevokeAfter time.Duration
}

// A KeyType is the kind of a private key.
type KeyType int

// The kinds of key that are made for an identity.
const (
	ECDSAP256 KeyType = iota
	ECDSAP384
	Ed25519
	RSA2048
	RSA3072
	RSA4096
)

// Identity is a certificate that a PKI role signs. The private key is made here and never leaves the
// process; Vault sees a signing request.
//
// A pull returns the certificate there is until two thirds of its life (a little earlier, by chance, so
// that a fleet does not renew at once), and then asks for another. What comes back is checked against what
// was asked for: key, names, life, usage, and a chain that is complete; Vault clamps and drops silently.
type Identity struct {
	client *Client
	opts   IdentityOptions
	turn   chan struct{} // capacity 1; held during a pull
	state  identityState
}

var (
	_ sdk.IdentityProvider = (*Identity)(nil)
	_ sdk.Validator        = (*Identity)(nil)
)

// Identity makes an identity provider. Nothing is contacted, and no key made, before the first pull.
func (c *Client) Identity(o IdentityOptions) *Identity {
	o.Mount = mountOr(o.Mount, "pki")
	if len(o.Usage) == 0 {
		o.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	return &Identity{client: c, opts: o, turn: make(chan struct{}, 1)}
}

// Format prints what is asked for: the value holds the private key.
func (i *Identity) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "vault.Identity{%s}", join(i.opts.Mount, i.opts.Role))
}

// Validate checks the configuration, the client's included, without contacting Vault.
func (i *Identity) Validate() error {
	o := i.opts
	errs := []error{
		i.client.cfg.validate(),
		fieldError("Mount", checkName(o.Mount, true)),
		fieldError("Role", checkName(o.Role, false)),
	}
	if o.Issuer != "" {
		errs = append(errs, fieldError("Issuer", checkName(o.Issuer, false)))
	}
	if len(o.DNS)+len(o.IPs)+len(o.URIs) == 0 {
		errs = append(errs, fieldError("DNS", errors.New("no name is given: set DNS, URIs or IPs, which peers recognise a node by")))
	}
	for n, s := range o.URIs {
		if u, err := url.Parse(s); err != nil || u.Scheme == "" {
			errs = append(errs, fieldError(fmt.Sprintf("URIs[%d]", n), fmt.Errorf("%q is not an absolute URI", s)))
		}
	}
	if o.TTL < 0 || o.TTL > 0 && o.TTL < time.Second {
		errs = append(errs, fieldError("TTL", fmt.Errorf("%v is less than a second", o.TTL)))
	}
	if o.KeyType < ECDSAP256 || o.KeyType > RSA4096 {
		errs = append(errs, fieldError("KeyType", fmt.Errorf("%d is unknown", o.KeyType)))
	}
	if err := errors.Join(errs...); err != nil {
		return prefix(err)
	}
	return nil
}

// Identity returns the certificate there is, or a new one if that is due.
func (i *Identity) Identity(ctx context.Context) (*sdk.Identity, error) {
	id, err := i.pull(ctx)
	if err != nil {
		return nil, roleError(fault.RoleIdentity, "pull", err)
	}
	return id, nil
}

// Renew makes the next pull ask for a new certificate although the present one is not due: after a key may
// have been seen by others, for instance. Call Federation.Refresh to have that happen at once.
func (i *Identity) Renew() {
	i.turn <- struct{}{}
	i.state.due = time.Time{}
	<-i.turn
}
