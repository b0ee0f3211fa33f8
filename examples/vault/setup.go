package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"
)

var names = []string{"a", "b", "c"}

func domain(name string) string { return name + ".mesh.example" }

// setUp does what an operator does once, and for each node.
func (s *server) setUp(ctx context.Context) error {
	for path, kind := range map[string]string{pkiMount: "pki", transitMount: "transit"} {
		err := s.admin.Sys().MountWithContext(ctx, path, &api.MountInput{Type: kind, Config: api.MountConfigInput{
			MaxLeaseTTL: "87600h", PassthroughRequestHeaders: []string{"If-Modified-Since"},
		}})
		if err != nil {
			return err
		}
	}
	if err := s.admin.Sys().EnableAuthWithOptionsWithContext(ctx, approleMount, &api.EnableAuthOptions{Type: "approle"}); err != nil {
		return err
	}
	if _, err := s.write(ctx, pkiMount+"/root/generate/internal", map[string]any{
		"common_name": "Mesh Root 1", "issuer_name": "root-1", "key_type": "ec", "ttl": "8760h",
	}); err != nil {
		return err
	}
	for _, name := range names {
		if err := s.setUpNode(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// setUpNode lets one node have its own name and its own key, and nothing else.
func (s *server) setUpNode(ctx context.Context, name string) error {
	node := "federation-" + name
	policy := fmt.Sprintf("path %q { capabilities = [\"update\"] }\npath %q { capabilities = [\"read\"] }\npath %q { capabilities = [\"update\"] }\n",
		pkiMount+"/sign/"+node, transitMount+"/keys/"+node, transitMount+"/sign/"+node)
	if err := s.admin.Sys().PutPolicyWithContext(ctx, node, policy); err != nil {
		return err
	}
	for path, data := range map[string]map[string]any{
		pkiMount + "/roles/" + node: {
			"allowed_domains": domain(name), "allow_bare_domains": true, "key_type": "any", "max_ttl": "72h",
		},
		transitMount + "/keys/" + node: {"type": "ed25519"},
		"auth/" + approleMount + "/role/" + node: {
			"token_policies": node, "token_ttl": "1h", "token_max_ttl": "24h",
		},
	} {
		if _, err := s.write(ctx, path, data); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// credentials are what a node is given: its role-id, and a wrapped secret-id that only it can open.
func (s *server) credentials(ctx context.Context, name string) (roleID, wrapped string, err error) {
	role := "auth/" + approleMount + "/role/federation-" + name
	secret, err := s.admin.Logical().ReadWithContext(ctx, role+"/role-id")
	if err != nil || secret == nil {
		return "", "", fmt.Errorf("role-id of %s: %w", name, err)
	}
	roleID, _ = secret.Data["role_id"].(string)
	wrapping, err := s.admin.Clone()
	if err != nil {
		return "", "", err
	}
	wrapping.SetToken(s.admin.Token())
	wrapping.SetWrappingLookupFunc(func(string, string) string { return "60s" })
	secret, err = wrapping.Logical().WriteWithContext(ctx, role+"/secret-id", nil)
	if err != nil {
		return "", "", err
	}
	return roleID, secret.WrapInfo.Token, nil
}

// tearDown removes what setUp made.
func (s *server) tearDown() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = s.admin.Sys().UnmountWithContext(ctx, pkiMount)
	_ = s.admin.Sys().UnmountWithContext(ctx, transitMount)
	_ = s.admin.Sys().DisableAuthWithContext(ctx, approleMount)
	for _, name := range names {
		_ = s.admin.Sys().DeletePolicyWithContext(ctx, "federation-"+name)
	}
}
