package stepca

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// An OIDC login is a TokenFunc: the CA's own OIDC provisioner takes its token.
func TestOIDCTokenEnrols(t *testing.T) {
	key := sdktest.NewKey(t, sdktest.ECDSAP256)
	jwk := jose.JSONWebKey{Key: key.Public(), KeyID: "k1", Algorithm: string(jose.ES256), Use: "sig"}
	var issuer string
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": issuer + "/keys"})
		case "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(idp.Close)
	issuer = idp.URL
	ca := startCA(t, stepcatest.Options{})
	must(t, ca.Restart(func() {
		ca.Provisioners = append(ca.Provisioners, map[string]any{
			"type": "OIDC", "name": "login", "clientID": "federation", "configurationEndpoint": issuer, "admins": []string{"ops@example.org"},
		})
	}))
	login := func(client, email string) TokenFunc {
		return func(context.Context, TokenRequest) (string, error) {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
			if err != nil {
				return "", err
			}
			now := time.Now()
			raw, _ := json.Marshal(map[string]any{
				"iss": issuer, "aud": client, "azp": client, "sub": "ops", "email": email, "email_verified": true,
				"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			})
			jws, err := signer.Sign(raw)
			if err != nil {
				return "", err
			}
			return jws.CompactSerialize()
		}
	}
	id := mustIdentity(t, newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: login("federation", "ops@example.org")}))
	verify(t, id.Certificate, ca)
	if !slices.Contains(id.Certificate.Leaf.DNSNames, "a.example") {
		t.Errorf("the certificate is for %q", id.Certificate.Leaf.DNSNames)
	}
	_, err := newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: login("another", "ops@example.org")}).Identity(t.Context())
	wantError(t, err, sdk.ErrPermission, "another", "no provisioner of the CA matches it")

	// Who is no administrator gets a certificate for the address of the login, whatever was asked for.
	_, err = newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: login("federation", "user@example.org")}).Identity(t.Context())
	wantError(t, err, sdk.ErrMaterial, "lacks the names", "a.example", "user@example.org")
	own := mustIdentity(t, newClient(t, ca).Identity(IdentityConfig{Enrolment: login("federation", "user@example.org")}))
	if mails := own.Certificate.Leaf.EmailAddresses; !slices.Contains(mails, "user@example.org") {
		t.Errorf("without Names the certificate is for %q", mails)
	}
}
