package vault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// TestTheWalkThroughWorks runs the shell commands of docs/vault.md, one block after the other, against a fresh
// server, and uses what they made as the text says. The vault command is played by the test binary.
func TestTheWalkThroughWorks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: the commands are for a POSIX shell")
	}
	s := vaulttest.Start(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "vault-ca.pem"), sdktest.CertPEM(s.Roots...), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Without that setting the race detector sleeps for a second at the end of every process.
	script := "#!/bin/sh\nVAULT_COMMAND=1 GORACE=atexit_sleep_ms=0 exec '" + self + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "vault"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	blocks := shellBlocks(t, "../../docs/vault.md")
	if len(blocks) != 8 {
		t.Fatalf("%d shell blocks in docs/vault.md, want 8: the steps of this test are those", len(blocks))
	}
	run := func(i int, env ...string) {
		t.Helper()
		cmd := exec.Command("sh", "-euc", blocks[i])
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"),
			"VAULT_ADDR="+s.URL, "VAULT_TOKEN="+s.Root, "VAULT_CACERT="+filepath.Join(dir, "vault-ca.pem"))
		cmd.Env = append(cmd.Env, env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("block %d: %v\n%s\n%s", i, err, blocks[i], out)
		}
	}
	run(0)
	run(1)
	roleID, err := os.ReadFile(filepath.Join(dir, "role-id"))
	if err != nil {
		t.Fatal(err)
	}
	c := vault.New(vault.Config{
		Address: s.URL, RootsFile: filepath.Join(dir, "vault-ca.pem"),
		Auth: &vault.AppRole{RoleID: strings.TrimSpace(string(roleID)), SecretIDFile: filepath.Join(dir, "secret-id")},
	})
	defer c.Close()
	trust := c.Trust(vault.TrustOptions{})
	options := vault.IdentityOptions{Role: "node-a", DNS: []string{"a.mesh.example"}, URIs: []string{"spiffe://mesh.example/a"}}
	identity, key := c.Identity(options), c.Key(vault.KeyOptions{Name: "node-a", Announce: -1})
	first, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	one := pull(t, key)
	mustSign(t, one, "m")
	stranger := options
	stranger.DNS = []string{"b.mesh.example"}
	if _, err := c.Identity(stranger).Identity(t.Context()); err == nil {
		t.Error("node a was given the name of node b")
	}

	run(2)
	two := pull(t, key)
	mustSign(t, two, "m")
	if public(one).Equal(public(two)) {
		t.Error("the key was not rotated")
	}
	run(3)
	if _, err := one.Active.Sign(t.Context(), []byte("m")); err == nil {
		t.Error("the old version still signs")
	}
	run(4)
	identity.Renew()
	id, err := identity.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := id.Certificate.Leaf.Issuer.CommonName; got != "Mesh Root 2" {
		t.Errorf("issued by %q", got)
	}
	id.Certificate.Leaf.DNSNames = append(id.Certificate.Leaf.DNSNames, "a.example") // what verify asks for
	if err := verify(id, first.Roots); err != nil {
		t.Errorf("a peer with the old root: %v", err)
	}
	run(5)
	last, err := trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := subjects(last); !slices.Equal(got, []string{"Mesh Root 2"}) {
		t.Errorf("roots %q in the end", got)
	}

	run(6, "SERIAL="+serial(id.Certificate.Leaf))
	last, err = trust.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !revoked(last, id.Certificate.Leaf.SerialNumber) {
		t.Error("the certificate was revoked, and is on no CRL")
	}
	run(7)
	identity.Renew()
	if _, err := identity.Identity(t.Context()); err == nil {
		t.Error("a node that was shut out has another certificate")
	}
	if _, err := two.Active.Sign(t.Context(), []byte("m")); err == nil {
		t.Error("a node that was shut out signs")
	}
}

func shellBlocks(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for i, part := range strings.Split(string(data), "```sh\n") {
		if i > 0 {
			block, _, _ := strings.Cut(part, "```")
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// vaultCommand is as much of the vault command as docs/vault.md uses.
func vaultCommand(args []string) error {
	ctx := context.Background()
	c, err := api.NewClient(nil)
	if err != nil {
		return err
	}
	flags := map[string]string{}
	var rest []string
	for _, a := range args {
		if name, ok := strings.CutPrefix(a, "-"); ok && name != "" {
			k, v, _ := strings.Cut(name, "=")
			flags[k] = v
		} else {
			rest = append(rest, a)
		}
	}
	verb := strings.Join(rest[:min(2, len(rest))], " ")
	switch {
	case verb == "secrets enable":
		return c.Sys().MountWithContext(ctx, flags["path"], &api.MountInput{Type: rest[2]})
	case verb == "secrets tune":
		_, err := c.Logical().WriteWithContext(ctx, "sys/mounts/"+rest[2]+"/tune", map[string]any{
			"max_lease_ttl": flags["max-lease-ttl"], "passthrough_request_headers": flags["passthrough-request-headers"],
		})
		return err
	case verb == "auth enable":
		return c.Sys().EnableAuthWithOptionsWithContext(ctx, flags["path"], &api.EnableAuthOptions{Type: rest[2]})
	case verb == "policy write":
		rules, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		return c.Sys().PutPolicyWithContext(ctx, rest[2], string(rules))
	case verb == "policy delete":
		return c.Sys().DeletePolicyWithContext(ctx, rest[2])
	case rest[0] == "delete":
		_, err := c.Logical().DeleteWithContext(ctx, rest[1])
		return err
	case rest[0] == "read":
		secret, err := c.Logical().ReadWithContext(ctx, rest[1])
		return printField(secret, flags["field"], err)
	case rest[0] == "write":
		data := map[string]any{}
		for _, a := range rest[2:] {
			k, v, _ := strings.Cut(a, "=")
			if file, ok := strings.CutPrefix(v, "@"); ok {
				text, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				v = string(text)
			}
			data[k] = v
		}
		secret, err := c.Logical().WriteWithContext(ctx, rest[1], data)
		return printField(secret, flags["field"], err)
	}
	return fmt.Errorf("the test's vault command does not know %q", verb)
}

func printField(secret *api.Secret, field string, err error) error {
	if err != nil || field == "" {
		return err
	}
	if s, ok := secret.Data[field].(string); ok {
		fmt.Print(s)
		return nil
	}
	return json.NewEncoder(os.Stdout).Encode(secret.Data[field])
}
