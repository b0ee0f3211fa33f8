package stepcatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// Password opens the keys of the JWK provisioners.
const Password = "a long password that is no word"

// The provisioners that a CA has at first.
const (
	Nodes  = "nodes"     // JWK: TLS certificates
	Keys   = "keys"      // JWK: certificates for signing keys
	Certs  = "certs"     // X5C: TLS certificates for who has one of this CA
	Vouch  = "vouchers"  // X5C: certificates for signing keys for who has a TLS certificate of this CA
	ACME   = "acme"      // ACME, with a database
	Forget = "forgiving" // JWK: TLS certificates that may be renewed after they ended
)

// SigningTemplate makes a certificate that vouches for a signing key and cannot be used in TLS: its one extended key usage
// is document signing (RFC 9336).
const SigningTemplate = `{
	"subject": {{ toJson .Subject }},
	"sans": {{ toJson .SANs }},
	"keyUsage": ["digitalSignature"],
	"unknownExtKeyUsage": ["1.3.6.1.5.5.7.3.36"]
}`

type provisionerKey struct {
	kid string
	key *ecdsa.PrivateKey
}

func (ca *CA) defaultProvisioners() error {
	template := map[string]any{"x509": map[string]any{"template": SigningTemplate}}
	roots := ca.Roots[0].PEM()
	for _, p := range []struct {
		name    string
		options map[string]any
		claims  map[string]any
	}{
		{Nodes, nil, nil}, {Keys, template, nil}, {Forget, nil, map[string]any{"allowRenewalAfterExpiry": true}},
	} {
		jwk, err := ca.jwk(p.name)
		if err != nil {
			return err
		}
		if p.options != nil {
			jwk["options"] = p.options
		}
		if p.claims != nil {
			jwk["claims"] = p.claims
		}
		ca.Provisioners = append(ca.Provisioners, jwk)
	}
	ca.Provisioners = append(ca.Provisioners,
		map[string]any{"type": "X5C", "name": Certs, "roots": roots},
		map[string]any{"type": "X5C", "name": Vouch, "roots": roots, "options": template},
	)
	if ca.options.Database {
		ca.Provisioners = append(ca.Provisioners, map[string]any{"type": "ACME", "name": ACME})
	}
	return nil
}

// jwk makes a JWK provisioner, as `step ca provisioner add --create` does.
func (ca *CA) jwk(name string) (map[string]any, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	k := jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256), Use: "sig"}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	k.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	private, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	// Far fewer rounds than step takes: tests open keys often.
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{
		Algorithm: jose.PBES2_HS256_A128KW, Key: []byte(Password), PBES2Count: 1000, PBES2Salt: []byte(k.KeyID)[:16],
	}, nil)
	if err != nil {
		return nil, err
	}
	jwe, err := enc.Encrypt(private)
	if err != nil {
		return nil, err
	}
	encrypted, err := jwe.CompactSerialize()
	if err != nil {
		return nil, err
	}
	ca.tokens[name] = &provisionerKey{kid: k.KeyID, key: key}
	return map[string]any{"type": "JWK", "name": name, "key": k.Public(), "encryptedKey": encrypted}, nil
}

// AddJWK adds a JWK provisioner; it is there from the next Start on, its tokens at once.
func (ca *CA) AddJWK(name string) error {
	p, err := ca.jwk(name)
	if err == nil {
		ca.Provisioners = append(ca.Provisioners, p)
	}
	return err
}

// RemoveProvisioner takes a provisioner out of the configuration; it is gone at the next Start.
func (ca *CA) RemoveProvisioner(name string) {
	ca.Provisioners = slices.DeleteFunc(ca.Provisioners, func(p map[string]any) bool { return p["name"] == name })
}

// A Token describes a one-time token. Zero fields are those of a token that the CA takes.
type Token struct {
	Provisioner string // default Nodes
	Subject     string
	SANs        []string // default Subject
	Audience    string   // default the CA's
	SHA         string   // default the CA's fingerprint
	From        time.Time
	Life        time.Duration // default 5 minutes
}

// Token mints a token, as `step ca token` does.
func (ca *CA) Token(t Token) (string, error) {
	if t.Provisioner == "" {
		t.Provisioner = Nodes
	}
	p := ca.tokens[t.Provisioner]
	if p == nil {
		return "", fmt.Errorf("stepcatest: no JWK provisioner %q", t.Provisioner)
	}
	if len(t.SANs) == 0 {
		t.SANs = []string{t.Subject}
	}
	if t.Audience == "" {
		t.Audience = ca.URL + "/1.0/sign"
	}
	if t.SHA == "" {
		t.SHA = ca.Fingerprint()
	}
	if t.From.IsZero() {
		t.From = time.Now()
	}
	if t.Life == 0 {
		t.Life = 5 * time.Minute
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	claims, err := json.Marshal(map[string]any{
		"iss": t.Provisioner, "sub": t.Subject, "sans": t.SANs, "aud": t.Audience, "sha": t.SHA, "jti": hex.EncodeToString(id),
		"iat": t.From.Unix(), "nbf": t.From.Unix(), "exp": t.From.Add(t.Life).Unix(),
	})
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", p.kid))
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
