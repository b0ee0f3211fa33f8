// Package python holds the test of the plugin in Python.
package python

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/examples/internal/plugincheck"
	"github.com/alphaonedev/federation/examples/internal/smallca"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func TestThePluginConforms(t *testing.T) {
	python := plugincheck.Python(t, ".")
	script, err := filepath.Abs("plugin.py")
	if err != nil {
		t.Fatal(err)
	}
	plugincheck.Run(t, python, "-B", script)
}

// TestThePluginRunsFromItsManifest opens the plugin as a node does: every file of it pinned.
func TestThePluginRunsFromItsManifest(t *testing.T) {
	python := plugincheck.Python(t, ".")
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range []string{"plugin.py", "federation_plugin.py"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	ca, err := smallca.Start("127.0.0.1:0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := plugin.Open(ctx, plugin.Config{
		Path: python, Args: []string{"plugin.py"}, Dir: dir, Files: files,
		Settings: map[string]string{"url": ca.URL, "root-sha256": ca.SHA256, "name": "a.example", "state": t.TempDir()},
		Secrets:  map[string]plugin.Secret{"token": plugin.Secret(ca.Token)},
		Limits:   plugin.Limits{Start: 30 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	identity, err := p.Identity()
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if names := id.Certificate.Leaf.DNSNames; len(names) != 1 || names[0] != "a.example" {
		t.Errorf("the certificate is for %v", names)
	}
}

// The chain is kept beside its key: a process that starts while the authority is away serves with it.
func TestANewProcessServesWithTheChainOfTheOldOne(t *testing.T) {
	python := plugincheck.Python(t, ".")
	script, err := filepath.Abs("plugin.py")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := smallca.Start("127.0.0.1:0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	start := func(name, state, token string) *plugin.Plugin {
		p, err := plugin.Open(ctx, plugin.Config{
			Path: python, Args: []string{"-B", script}, Unpinned: true,
			Settings: map[string]string{"url": ca.URL, "root-sha256": ca.SHA256, "name": name, "state": state},
			Secrets:  map[string]plugin.Secret{"token": plugin.Secret(token)},
			Limits:   plugin.Limits{Start: time.Minute},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	state := t.TempDir()
	p := start("a.example", state, ca.Token+"\n") // as a file has it
	before, err := identityOf(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	_ = ca.Close()

	after, err := identityOf(ctx, start("a.example", state, ca.Token))
	if err != nil {
		t.Fatal(err)
	}
	if !after.Certificate.Leaf.Equal(before.Certificate.Leaf) {
		t.Error("the certificate is another one")
	}
	if _, err := identityOf(ctx, start("b.example", state, ca.Token)); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("for another name: %v, want ErrUnavailable", err)
	}
	if err := os.Remove(filepath.Join(state, "tls.pem")); err != nil {
		t.Fatal(err)
	}
	p = start("a.example", state, ca.Token)
	if _, err := identityOf(ctx, p); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("with another key: %v, want ErrUnavailable", err)
	}

	settings := map[string]string{"url": ca.URL, "root-sha256": ca.SHA256, "name": "a.example", "state": state}
	var field *sdk.ConfigError
	err = p.Validate(ctx, settings, map[string]plugin.Secret{"token": "two\nlines"})
	if !errors.As(err, &field) || field.Field != "token" {
		t.Errorf("Validate: %v, want a ConfigError that names token", err)
	}
	if err != nil && strings.Contains(err.Error(), "lines") {
		t.Error("the token is in the error")
	}
}

// TestAFailedRenewalIsNotRepeatedAtOnce is about a certificate in the last third of its life while the authority is away.
func TestAFailedRenewalIsNotRepeatedAtOnce(t *testing.T) {
	python := plugincheck.Python(t, ".")
	state := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"},
		NotBefore: time.Now().Add(-90 * time.Hour), NotAfter: time.Now().Add(10 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	chain := append([]byte("a.example 00\n"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	for name, content := range map[string][]byte{
		"tls.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "chain.pem": chain,
	} {
		if err := os.WriteFile(filepath.Join(state, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := open(t, python, "plugin.py", map[string]string{
		"url": "https://127.0.0.1:1", "root-sha256": "00", "name": "a.example", "state": state,
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id, err := identityOf(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(id.Certificate.Leaf.Raw, der) {
		t.Error("the certificate is another one")
	}
	// At random from 30 s to a minute; the plugin counts what has passed since its try.
	if id.RefreshAfter < 10*time.Second || id.RefreshAfter > time.Minute {
		t.Errorf("to be renewed in %v, want at most a minute and no haste", id.RefreshAfter)
	}
}

func identityOf(ctx context.Context, p *plugin.Plugin) (*sdk.Identity, error) {
	provider, err := p.Identity()
	if err != nil {
		return nil, err
	}
	return provider.Identity(ctx)
}

func TestAConfigurationIsJudgedWithoutBeingUsed(t *testing.T) {
	python := plugincheck.Python(t, ".")
	state := filepath.Join(t.TempDir(), "state")
	good := map[string]string{"url": "https://127.0.0.1:1", "root-sha256": "00", "name": "a.example", "state": state}
	bad := maps.Clone(good)
	bad["state"] = "relative"
	good2 := maps.Clone(good)
	good2["state"] = filepath.Join(t.TempDir(), "other")
	p := open(t, python, "plugin.py", good)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Validate(ctx, good2, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(good2["state"]); err == nil {
		t.Error("Validate made the folder")
	}
	var field *sdk.ConfigError
	if err := p.Validate(ctx, bad, nil); !errors.As(err, &field) || field.Field != "state" {
		t.Errorf("Validate: %v, want a ConfigError that names state", err)
	}
	// A plugin without validate says so.
	p = open(t, python, "testdata/slow.py", map[string]string{"dir": t.TempDir()})
	if err := p.Validate(ctx, nil, nil); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("Validate: %v, want ErrUnsupported", err)
	}
}

func TestProvidersAreClosedWhenTheCallsUnderWayHaveEnded(t *testing.T) {
	python := plugincheck.Python(t, ".")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	p := open(t, python, "testdata/slow.py", map[string]string{"dir": dir})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	trust, err := p.Trust()
	if err != nil {
		t.Fatal(err)
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{}, 100)
	ended := make(chan error, 2)
	go func() { ended <- trust.(sdk.Watcher).Watch(watching, func() { watched <- struct{}{} }) }()
	<-watched
	pulled := make(chan error, 1)
	go func() {
		_, err := trust.TrustBundle(ctx)
		pulled <- err
	}()
	eventually(t, "the call is under way", func() bool { return exists(at("called-1")) })
	if err := p.Configure(ctx, map[string]string{"dir": dir, "again": "yes"}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch of the old configuration has ended", func() bool { return exists(at("watch-ended-1")) })
	if exists(at("closed-1")) {
		t.Error("the providers were closed under a call")
	}
	if err := os.WriteFile(at("release"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// What it pulls is an error on purpose: it says what the call found.
	if err := <-pulled; err == nil || !strings.Contains(err.Error(), "open to the end") {
		t.Errorf("the call under way: %v", err)
	}
	eventually(t, "the old providers are closed", func() bool { return exists(at("closed-1")) })
	if exists(at("closed-2")) {
		t.Error("the providers in force were closed")
	}
	stop()
	<-ended
}

func TestWhatWatchRaisesReachesTheNode(t *testing.T) {
	p := open(t, plugincheck.Python(t, "."), "testdata/polled.py", nil)
	trust, err := p.Trust()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := trust.(sdk.Watcher).Watch(ctx, func() {}); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("Watch: %v, want ErrUnsupported", err)
	}
}

// open starts a plugin of this folder as a developer does.
func open(t *testing.T, python, script string, settings map[string]string) *plugin.Plugin {
	t.Helper()
	script, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	p, err := plugin.Open(t.Context(), plugin.Config{
		Path: python, Unpinned: true, Args: []string{"-B", script}, Env: []string{"PYTHONPATH=" + folder},
		Settings: settings, Limits: plugin.Limits{Start: time.Minute},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func exists(name string) bool { _, err := os.Stat(name); return err == nil }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// The file that authors copy is the same wherever it is shown.
func TestTheFileToCopyIsThatOfTheSkeleton(t *testing.T) {
	ours, err := os.ReadFile("federation_plugin.py")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile("../../sdk/plugin/plugincheck/skeleton/python/federation_plugin.py.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("federation_plugin.py differs from the skeleton's")
	}
}
