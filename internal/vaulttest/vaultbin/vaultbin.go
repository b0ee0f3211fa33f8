// Package vaultbin finds the Vault server for tests and examples, and builds it where it is missing. It is apart
// from vaulttest so that a command can use it without package testing.
package vaultbin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// older is the value of FEDERATION_VAULT that picks the older of the two servers.
const older = "older"

// Older reports whether FEDERATION_VAULT=older asks for the older server, Vault 1.16, instead of 1.21.
func Older() bool { return os.Getenv("FEDERATION_VAULT") == older }

// modfile is the go.mod of the server, in its folder. Both servers have the same source.
func modfile() string {
	if Older() {
		return older + ".mod"
	}
	return "go.mod"
}

// Path returns where the server is, or would be: a path in the user's cache folder that changes with the
// sources, or one in the repository's .cache folder where there is no user.
func Path() (string, error) {
	dir, err := sourceDir()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, name := range []string{modfile(), "main.go", "registry.go"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", name, len(data))
		h.Write(data)
	}
	fmt.Fprintln(h, runtime.GOOS, runtime.GOARCH)
	name := "vault-server-" + hex.EncodeToString(h.Sum(nil)[:6])
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(dir, "..", "..", "..", ".cache", name), nil
	}
	return filepath.Join(cache, "federation-test", name), nil
}

// Build builds the server if it is missing, and tells progress about it. A first build takes minutes, and
// most of a gigabyte of downloads and build cache.
func Build(progress io.Writer) error {
	bin, err := Path()
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err == nil {
		return nil
	}
	dir, err := sourceDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		return err
	}
	temp := fmt.Sprintf("%s.%d", bin, os.Getpid())
	defer os.Remove(temp)
	// -mod=mod: go mod tidy cannot succeed there (README.md), so the files are taken as they are.
	cmd := exec.Command("go", "build", "-mod=mod", "-modfile="+modfile(), "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", temp, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = progress, progress
	start := time.Now()
	fmt.Fprintln(progress, "building the Vault server for the tests; the first time this takes several minutes …")
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(progress, "  still building the Vault server, %v so far\n", time.Since(start).Round(time.Second))
		case err := <-done:
			if err != nil {
				return fmt.Errorf("the Vault server does not build: %w", err)
			}
			fmt.Fprintf(progress, "built the Vault server in %v\n", time.Since(start).Round(time.Second))
			return os.Rename(temp, bin)
		}
	}
}

func sourceDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("the module's folder is not found: %w", err)
	}
	return filepath.Join(string(trimSpace(out)), "internal", "vaulttest", "server"), nil
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}
