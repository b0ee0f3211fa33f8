package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/vaulttest/vaultbin"
)

// A vaultServer is a Vault in memory, and a client that may set it up.
type vaultServer struct {
	address string
	admin   *api.Client
	key     string // unseals it
	cmd     *exec.Cmd
}

func startVault(ctx context.Context) (*vaultServer, error) {
	if err := vaultbin.Build(os.Stderr); err != nil {
		return nil, err
	}
	bin, err := vaultbin.Path()
	if err != nil {
		return nil, err
	}
	v := &vaultServer{cmd: exec.Command(bin)}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		v.end()
		return nil, errors.New("the Vault server did not say where it listens")
	}
	v.address = strings.TrimSpace(line)
	if err := v.init(ctx); err != nil {
		v.end()
		return nil, err
	}
	return v, nil
}

func (v *vaultServer) init(ctx context.Context) error {
	cfg := api.DefaultConfig()
	cfg.Address = v.address
	admin, err := api.NewClient(cfg)
	if err != nil {
		return err
	}
	init, err := admin.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return err
	}
	admin.SetToken(init.RootToken)
	v.admin, v.key = admin, init.Keys[0]
	return v.unseal(ctx)
}

// seal makes Vault answer nobody until unseal.
func (v *vaultServer) seal(ctx context.Context) error { return v.admin.Sys().SealWithContext(ctx) }

func (v *vaultServer) unseal(ctx context.Context) error {
	if _, err := v.admin.Sys().UnsealWithContext(ctx, v.key); err != nil {
		return err
	}
	for {
		if h, err := v.admin.Sys().HealthWithContext(ctx); err == nil && !h.Sealed && !h.Standby {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// setUp makes a root, and a signing key and a login for each node, which may sign with that key and nothing else.
func (v *vaultServer) setUp(ctx context.Context, names []string) error {
	for path, kind := range map[string]string{"pki": "pki", "transit": "transit"} {
		if err := v.admin.Sys().MountWithContext(ctx, path, &api.MountInput{Type: kind}); err != nil {
			return err
		}
	}
	if err := v.admin.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}); err != nil {
		return err
	}
	if err := v.write(ctx, "pki/root/generate/internal", map[string]any{"common_name": "Vault root", "key_type": "ec"}); err != nil {
		return err
	}
	for _, name := range names {
		policy := fmt.Sprintf("path %q { capabilities = [\"read\"] }\npath %q { capabilities = [\"update\"] }\n", "transit/keys/"+name, "transit/sign/"+name)
		if err := v.admin.Sys().PutPolicyWithContext(ctx, name, policy); err != nil {
			return err
		}
		if err := v.write(ctx, "transit/keys/"+name, map[string]any{"type": "ed25519"}); err != nil {
			return err
		}
		if err := v.write(ctx, "auth/approle/role/"+name, map[string]any{"token_policies": name}); err != nil {
			return err
		}
	}
	return nil
}

// login gives what a node logs in with.
func (v *vaultServer) login(ctx context.Context, name string) (roleID, secretID string, err error) {
	role, err := v.admin.Logical().ReadWithContext(ctx, "auth/approle/role/"+name+"/role-id")
	if err != nil {
		return "", "", err
	}
	secret, err := v.admin.Logical().WriteWithContext(ctx, "auth/approle/role/"+name+"/secret-id", nil)
	if err != nil {
		return "", "", err
	}
	roleID, _ = role.Data["role_id"].(string)
	secretID, _ = secret.Data["secret_id"].(string)
	return roleID, secretID, nil
}

func (v *vaultServer) write(ctx context.Context, path string, data map[string]any) error {
	_, err := v.admin.Logical().WriteWithContext(ctx, path, data)
	return err
}

func (v *vaultServer) end() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
}
