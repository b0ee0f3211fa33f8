package vault_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// login makes a client that logs in with auth and pulls a key.
func loginKey(t *testing.T, r *rig, auth api.AuthMethod, change func(*vault.Config)) error {
	t.Helper()
	c := r.connect(t, func(cfg *vault.Config) {
		cfg.Auth = auth
		if change != nil {
			change(cfg)
		}
	})
	_, err := c.Key(keyOptions()).SigningKeys(t.Context())
	return err
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoginByToken(t *testing.T) {
	r := newRig(t)
	if err := loginKey(t, r, &vault.Token{Value: r.Token(t, "node", nil) + "\n"}, nil); err != nil {
		t.Error(err)
	}
	err := loginKey(t, r, &vault.Token{Value: "hvs.unknown"}, nil)
	if r.Older { // it does not say that it is the token
		wantError(t, err, sdk.ErrPermission, "if the token lives")
		return
	}
	wantError(t, err, sdk.ErrExpired, "does not know the token")
}

func TestLoginByTokenFileFollowsTheFile(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "token")
	auth := &vault.TokenFile{Path: path}
	c := r.connect(t, func(cfg *vault.Config) { cfg.Auth = auth })
	key := c.Key(keyOptions())
	_, err := key.SigningKeys(t.Context())
	wantError(t, err, sdk.ErrUnavailable, path)

	first := r.Token(t, "node", nil)
	writeFile(t, path, first+"\n")
	set := pull(t, key)
	second := r.Token(t, "node", nil)
	writeFile(t, path, second+"\n\n")
	r.Write(t, "auth/token/revoke", map[string]any{"token": first})
	mustSign(t, set, "with the second token")
}

func TestLoginByAppRole(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	role := r.auth.RoleID
	open := r.AppRole(t, "open", "node", map[string]any{"bind_secret_id": false, "token_bound_cidrs": "127.0.0.1/32", "secret_id_bound_cidrs": ""})
	for name, auth := range map[string]*vault.AppRole{
		"secret-id":           {RoleID: role, SecretID: r.SecretID(t, "node")},
		"secret-id file":      {RoleID: role, SecretIDFile: writeFile(t, filepath.Join(dir, "id"), r.SecretID(t, "node")+"\n")},
		"secret-id func":      {RoleID: role, SecretIDFunc: func(context.Context) (string, error) { return r.SecretID(t, "node"), nil }},
		"wrapped secret-id":   {RoleID: role, SecretID: r.WrappedSecretID(t, "node"), Wrapped: true},
		"no secret-id needed": {RoleID: open},
		"files' contents":     {RoleID: role + "\n", SecretID: r.SecretID(t, "node") + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := loginKey(t, r, auth, nil); err != nil {
				t.Error(err)
			}
		})
	}
	opened := r.WrappedSecretID(t, "node")
	if _, err := r.Client(t).Logical().UnwrapWithContext(t.Context(), opened); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		auth  *vault.AppRole
		want  error
		words string
	}{
		"unknown role":      {&vault.AppRole{RoleID: "nobody", SecretID: "x123"}, sdk.ErrPermission, "auth/approle"},
		"wrong secret-id":   {&vault.AppRole{RoleID: role, SecretID: "wrong-secret-id"}, sdk.ErrPermission, "invalid role or secret ID (the credentials are wrong, have expired or are used up"},
		"wrong mount":       {&vault.AppRole{Mount: "approle-x", RoleID: role, SecretID: "x123"}, sdk.ErrPermission, "nothing is mounted there: give others, or check Mount"},
		"opened wrapping":   {&vault.AppRole{RoleID: role, SecretID: opened, Wrapped: true}, sdk.ErrPermission, "somebody else"},
		"another wrapping":  {&vault.AppRole{RoleID: role, SecretID: wrapAnything(t, r), Wrapped: true}, sdk.ErrPermission, "sys/wrapping/wrap"},
		"missing file":      {&vault.AppRole{RoleID: role, SecretIDFile: filepath.Join(dir, "absent")}, sdk.ErrUnavailable, "absent"},
		"file that's empty": {&vault.AppRole{RoleID: role, SecretIDFile: writeFile(t, filepath.Join(dir, "empty"), "\n")}, sdk.ErrUnavailable, "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			err := loginKey(t, r, test.auth, nil)
			wantError(t, err, test.want, test.words)
			for _, secret := range []string{"wrong-secret-id", opened} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a secret: %v", err)
				}
			}
		})
	}
}

// A wrapping that could not be opened at once is opened later; what was in the one before it no longer serves.
func TestAWrappingIsOpenedOnceVaultAnswers(t *testing.T) {
	r := newRig(t)
	given := r.WrappedSecretID(t, "node")
	c := r.connect(t, func(cfg *vault.Config) {
		cfg.Auth = &vault.AppRole{
			RoleID: r.auth.RoleID, Wrapped: true, SecretIDFunc: func(context.Context) (string, error) { return given, nil },
		}
	})
	set := pull(t, c.Key(keyOptions()))
	old, err := r.Client(t).Logical().ListWithContext(t.Context(), "auth/approle/role/node/secret-id")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range old.Data["keys"].([]any) {
		r.Write(t, "auth/approle/role/node/secret-id-accessor/destroy", map[string]any{"secret_id_accessor": a})
	}
	given = r.WrappedSecretID(t, "node")
	r.Write(t, "auth/token/revoke-accessor", map[string]any{"accessor": newestAccessor(t, r)})
	r.proxy.Set(vaulttest.Status("sys/wrapping/", 503, "", "Vault is sealed"))
	_, err = set.Active.Sign(t.Context(), []byte("m"))
	wantError(t, err, sdk.ErrUnavailable, "sealed")
	r.proxy.Set(nil)
	within(t, "a login with the new secret-id", func() bool { // which is held off for a moment
		_, err := set.Active.Sign(t.Context(), []byte("m"))
		return err == nil
	})
}

// wrapAnything is what an attacker who opened a wrapping might put in its place.
func wrapAnything(t *testing.T, r *rig) string {
	t.Helper()
	c := r.Client(t)
	c.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	s, err := c.Logical().WriteWithContext(t.Context(), "sys/wrapping/wrap", map[string]any{"secret_id": "mine"})
	if err != nil {
		t.Fatal(err)
	}
	return s.WrapInfo.Token
}

func TestLoginByJWT(t *testing.T) {
	r := newRig(t)
	r.EnableAuth(t, "jwt", "jwt")
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	r.Write(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "jwt_supported_algs": "EdDSA"})
	r.Write(t, "auth/jwt/role/node", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "node"})
	token := func(aud string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(s).Claims(jwt.Claims{Subject: "node-a", Audience: jwt.Audience{aud}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	path := writeFile(t, filepath.Join(t.TempDir(), "jwt"), token("vault"))
	if err := loginKey(t, r, &vault.JWT{Role: "node", Path: path}, nil); err != nil {
		t.Error(err)
	}
	wrong := token("elsewhere")
	err = loginKey(t, r, &vault.JWT{Role: "node", Func: func(context.Context) (string, error) { return wrong, nil }}, nil)
	wantError(t, err, sdk.ErrPermission, "JWT at auth/jwt")
	if strings.Contains(err.Error(), wrong) {
		t.Errorf("the error holds the token: %v", err)
	}
}

// TestLoginByKubernetes has a real Vault ask a stand-in for the Kubernetes API, of which only TokenReview is
// needed.
func TestLoginByKubernetes(t *testing.T) {
	r := newRig(t)
	ca := sdktest.NewCA(t)
	token := serviceAccountToken(t)
	kube := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var review struct {
			Spec struct {
				Token string `json:"token"`
			} `json:"spec"`
		}
		_ = json.Unmarshal(body, &review)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
			"status": map[string]any{
				"authenticated": review.Spec.Token == token,
				"user":          map[string]any{"username": "system:serviceaccount:mesh:node", "uid": "uid-1", "groups": []string{"system:serviceaccounts"}},
			},
		})
	}))
	leaf := ca.Issue(t, sdktest.Leaf{DNS: []string{"localhost"}, IPs: loopbackIPs()})
	kube.TLS = &tls.Config{Certificates: []tls.Certificate{*leaf.TLS}, MinVersion: tls.VersionTLS12}
	kube.StartTLS()
	defer kube.Close()
	r.EnableAuth(t, "kubernetes", "kubernetes")
	r.Write(t, "auth/kubernetes/config", map[string]any{
		"kubernetes_host": kube.URL, "kubernetes_ca_cert": string(ca.PEM()), "token_reviewer_jwt": token, "disable_local_ca_jwt": true,
	})
	r.Write(t, "auth/kubernetes/role/node", map[string]any{
		"bound_service_account_names": "node", "bound_service_account_namespaces": "mesh", "token_policies": "node",
	})
	path := writeFile(t, filepath.Join(t.TempDir(), "token"), token)
	if err := loginKey(t, r, &vault.Kubernetes{Role: "node", TokenPath: path}, nil); err != nil {
		t.Error(err)
	}
	err := loginKey(t, r, &vault.Kubernetes{Role: "nobody", TokenPath: path}, nil)
	wantError(t, err, sdk.ErrPermission, "Kubernetes at auth/kubernetes")
	if strings.Contains(err.Error(), token) {
		t.Errorf("the error holds the token: %v", err)
	}
}

func serviceAccountToken(t *testing.T) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: sdktest.NewKey(t, sdktest.ECDSAP256)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(map[string]any{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:mesh:node",
		"kubernetes.io": map[string]any{"namespace": "mesh", "serviceaccount": map[string]any{"name": "node", "uid": "uid-1"}},
		"iat":           time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestLoginByCertificate(t *testing.T) {
	r := newRig(t)
	ca := sdktest.NewCA(t)
	leaf := ca.Issue(t, sdktest.Leaf{CommonName: "a.example", DNS: []string{"a.example"}})
	r.EnableAuth(t, "cert", "cert")
	r.Write(t, "auth/cert/certs/node", map[string]any{"certificate": string(ca.PEM()), "allowed_dns_sans": "a.example", "token_policies": "node"})
	show := func(l *sdktest.Issued) func(*vault.Config) {
		return func(cfg *vault.Config) {
			cfg.Address = r.URL // not through the proxy: the certificate is the connection's
			cfg.ClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return l.TLS, nil }
		}
	}
	if err := loginKey(t, r, &vault.Cert{Name: "node"}, show(leaf)); err != nil {
		t.Error(err)
	}
	stranger := sdktest.NewCA(t).Issue(t, sdktest.Leaf{CommonName: "a.example", DNS: []string{"a.example"}})
	wantError(t, loginKey(t, r, &vault.Cert{Name: "node"}, show(stranger)), sdk.ErrPermission, "a certificate at auth/cert")
}

func TestNothingComesFromTheEnvironment(t *testing.T) {
	r := newRig(t)
	for name, value := range map[string]string{
		"VAULT_ADDR": "https://192.0.2.1:1", "VAULT_TOKEN": "hvs.of-somebody-else", "VAULT_NAMESPACE": "elsewhere",
		"VAULT_HEADERS": `{"X-Strange":"yes"}`, "VAULT_WRAP_TTL": "60s", "VAULT_PROXY_ADDR": "http://192.0.2.1:1",
		"HTTPS_PROXY": "http://192.0.2.1:1", "VAULT_RATE_LIMIT": "0.001:1", "VAULT_SRV_LOOKUP": "true",
		"VAULT_SKIP_VERIFY": "true", "VAULT_CLIENT_TIMEOUT": "1ns", "VAULT_AGENT_ADDR": "https://192.0.2.1:1",
	} {
		t.Setenv(name, value)
	}
	var strange []string
	r.proxy.Set(func(_ http.ResponseWriter, req *http.Request) bool {
		for _, h := range []string{"X-Strange", "X-Vault-Namespace", "X-Vault-Wrap-Ttl"} {
			if v := req.Header.Get(h); v != "" {
				strange = append(strange, h+": "+v)
			}
		}
		if req.Header.Get("X-Vault-Token") == "hvs.of-somebody-else" {
			strange = append(strange, "VAULT_TOKEN")
		}
		return false
	})
	for name, pull := range r.pulls(r.connect(t, nil)) {
		if err := pull(t); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(strange) > 0 {
		t.Errorf("requests carry %q", strange)
	}
	c := r.connect(t, func(cfg *vault.Config) { cfg.Roots = nil })
	_, err := c.Trust(vault.TrustOptions{}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrConfig, "certificate")
}
