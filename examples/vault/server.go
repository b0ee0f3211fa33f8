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

const (
	pkiMount     = "federation-pki"
	transitMount = "federation-transit"
	approleMount = "federation-approle"
)

// A server is the Vault of the example, and a client with the rights of who sets it up.
type server struct {
	address, ca, tokenFile string

	admin *api.Client
	stop  func()
}

// open connects to the Vault that was named, or starts one.
func (s *server) open(ctx context.Context, say func(string, ...any)) error {
	s.stop = func() {}
	token := ""
	if s.address == "" {
		if err := vaultbin.Build(os.Stderr); err != nil {
			return err
		}
		if err := s.start(ctx); err != nil {
			return err
		}
		say("started a Vault at %s", s.address)
	} else {
		data, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return fmt.Errorf("-token-file: %w", err)
		}
		token = strings.TrimSpace(string(data))
	}
	cfg := api.DefaultConfig()
	cfg.Address = s.address
	if s.ca != "" {
		if err := cfg.ConfigureTLS(&api.TLSConfig{CACert: s.ca}); err != nil {
			return err
		}
	}
	admin, err := api.NewClient(cfg)
	if err != nil {
		return err
	}
	s.admin = admin
	if token != "" {
		admin.SetToken(token)
		return nil
	}
	init, err := admin.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return err
	}
	admin.SetToken(init.RootToken)
	if _, err := admin.Sys().UnsealWithContext(ctx, init.Keys[0]); err != nil {
		return err
	}
	for {
		if h, err := admin.Sys().HealthWithContext(ctx); err == nil && !h.Sealed && !h.Standby {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// start runs the server for tests: in memory, on loopback, gone at the end.
func (s *server) start(ctx context.Context) error {
	bin, err := vaultbin.Path()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, bin)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	s.stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.stop()
		return errors.New("the Vault server did not say where it listens")
	}
	s.address = strings.TrimSpace(line)
	return nil
}

func (s *server) close() { s.stop() }

// write writes to a path and returns the data of the answer.
func (s *server) write(ctx context.Context, path string, data map[string]any) (map[string]any, error) {
	secret, err := s.admin.Logical().WriteWithContext(ctx, path, data)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, nil
	}
	return secret.Data, nil
}
