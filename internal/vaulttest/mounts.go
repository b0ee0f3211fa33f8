package vaulttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
)

// Mount mounts a secrets engine.
func (s *Server) Mount(t testing.TB, path, kind string) {
	t.Helper()
	err := s.Client(t).Sys().MountWithContext(t.Context(), path, &api.MountInput{
		Type: kind,
		Config: api.MountConfigInput{
			MaxLeaseTTL:               "87600h",
			PassthroughRequestHeaders: []string{"If-Modified-Since"},
		},
	})
	if err != nil {
		t.Fatalf("mount %s: %v", path, err)
	}
}

// EnableAuth enables a login method.
func (s *Server) EnableAuth(t testing.TB, path, kind string) {
	t.Helper()
	err := s.Client(t).Sys().EnableAuthWithOptionsWithContext(t.Context(), path, &api.EnableAuthOptions{Type: kind})
	if err != nil {
		t.Fatalf("enable auth %s: %v", path, err)
	}
}

// PKI mounts a PKI engine with a root CA, and a role "node" that signs what the tests ask for.
func (s *Server) PKI(t testing.TB, mount string) {
	t.Helper()
	s.Mount(t, mount, "pki")
	s.Write(t, mount+"/root/generate/internal", map[string]any{
		"common_name": "Root of " + mount, "issuer_name": "root-1", "key_type": "ec", "ttl": "8760h",
	})
	s.Role(t, mount, "node", nil)
}

// Role makes a PKI role. changes override the defaults.
func (s *Server) Role(t testing.TB, mount, name string, changes map[string]any) {
	t.Helper()
	role := map[string]any{
		"allow_any_name": true, "enforce_hostnames": false, "allowed_uri_sans": "*", "allow_ip_sans": true,
		"require_cn": false, "key_type": "any", "max_ttl": "72h",
	}
	for k, v := range changes {
		role[k] = v
	}
	s.Write(t, mount+"/roles/"+name, role)
}

// Transit mounts a Transit engine with an Ed25519 key.
func (s *Server) Transit(t testing.TB, mount, key string) {
	t.Helper()
	s.Mount(t, mount, "transit")
	s.TransitKey(t, mount, key, nil)
}

// TransitKey makes a key. changes override the defaults.
func (s *Server) TransitKey(t testing.TB, mount, key string, changes map[string]any) {
	t.Helper()
	options := map[string]any{"type": "ed25519"}
	for k, v := range changes {
		options[k] = v
	}
	s.Write(t, mount+"/keys/"+key, options)
}

// NodePolicy is the least that a node needs, for these mounts.
func NodePolicy(pki, role, transit, key string) string {
	var b strings.Builder
	rule := func(path, capability string) {
		fmt.Fprintf(&b, "path %q { capabilities = [%q] }\n", path, capability)
	}
	rule(pki+"/sign/"+role, "update")
	rule(transit+"/keys/"+key, "read")
	rule(transit+"/sign/"+key, "update")
	return b.String()
}

// Policy writes a policy.
func (s *Server) Policy(t testing.TB, name, rules string) {
	t.Helper()
	if err := s.Client(t).Sys().PutPolicyWithContext(t.Context(), name, rules); err != nil {
		t.Fatalf("policy %s: %v", name, err)
	}
}

// Token makes a token with policies. options may be nil.
func (s *Server) Token(t testing.TB, policy string, options *api.TokenCreateRequest) string {
	t.Helper()
	if options == nil {
		options = &api.TokenCreateRequest{TTL: "1h"}
	}
	options.Policies = []string{policy}
	secret, err := s.Client(t).Auth().Token().CreateWithContext(t.Context(), options)
	if err != nil {
		t.Fatalf("create a token: %v", err)
	}
	return secret.Auth.ClientToken
}

// AppRole makes an AppRole and returns its role-id. auth/approle must be enabled.
func (s *Server) AppRole(t testing.TB, name, policy string, changes map[string]any) (roleID string) {
	t.Helper()
	role := map[string]any{"token_policies": policy, "token_ttl": "1h", "token_max_ttl": "4h"}
	for k, v := range changes {
		role[k] = v
	}
	s.Write(t, "auth/approle/role/"+name, role)
	return s.Read(t, "auth/approle/role/"+name+"/role-id")["role_id"].(string)
}

// SecretID makes a secret-id of an AppRole.
func (s *Server) SecretID(t testing.TB, name string) string {
	t.Helper()
	return s.Write(t, "auth/approle/role/"+name+"/secret-id", nil)["secret_id"].(string)
}

// WrappedSecretID makes a secret-id and returns a wrapping token for it.
func (s *Server) WrappedSecretID(t testing.TB, name string) string {
	t.Helper()
	c := s.Client(t)
	c.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	secret, err := c.Logical().WriteWithContext(t.Context(), "auth/approle/role/"+name+"/secret-id", nil)
	if err != nil {
		t.Fatal(err)
	}
	return secret.WrapInfo.Token
}
