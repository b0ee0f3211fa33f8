package plugincheck

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alphaonedev/federation/examples/internal/smallca"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

// An Example is the command of a plugin for the small certificate authority, in whatever language.
type Example struct {
	Path string
	Args []string
	Env  []string
}

// Open opens the plugin as a developer does, and closes it when the test ends. The context lasts for the test.
func (e Example) Open(t TB, settings map[string]string, secrets map[string]plugin.Secret) (*plugin.Plugin, context.Context) {
	t.Helper()
	return Open(t, plugin.Config{Path: e.Path, Args: e.Args, Env: e.Env, Unpinned: true, Settings: settings, Secrets: secrets})
}

// Open opens a plugin with time enough for a machine with much to do, and closes it when the test ends.
func Open(t TB, c plugin.Config) (*plugin.Plugin, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	c.Limits.Start = time.Minute
	p, err := plugin.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, ctx
}

// Settings are those of a plugin for an authority. A nil one is away.
func Settings(ca *smallca.CA, state string) map[string]string {
	s := map[string]string{"url": "https://127.0.0.1:1", "root-sha256": "00", "name": "a.example", "state": state}
	if ca != nil {
		s["url"], s["root-sha256"] = ca.URL, ca.SHA256
	}
	return s
}

// Identity pulls the identity.
func Identity(ctx context.Context, p *plugin.Plugin) (*sdk.Identity, error) {
	provider, err := p.Identity()
	if err != nil {
		return nil, err
	}
	return provider.Identity(ctx)
}

// KeepsItsChain holds an example to this: the chain lies beside its key, so that a process that starts while the
// authority is away serves with it, but not for another name, nor with another key.
func (e Example) KeepsItsChain(t TB) {
	t.Helper()
	ca, err := smallca.Start("127.0.0.1:0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	state := t.TempDir()
	start := func(name, token string) (*plugin.Plugin, context.Context) {
		settings := Settings(ca, state)
		settings["name"] = name
		return e.Open(t, settings, map[string]plugin.Secret{"token": plugin.Secret(token)})
	}
	p, ctx := start("a.example", ca.Token+"\n") // as a file has it
	before, err := Identity(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	_ = ca.Close()

	p, ctx = start("a.example", ca.Token)
	after, err := Identity(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if !after.Certificate.Leaf.Equal(before.Certificate.Leaf) {
		t.Errorf("the certificate is another one")
	}
	p, ctx = start("b.example", ca.Token)
	if _, err := Identity(ctx, p); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("for another name: %v, want ErrUnavailable", err)
	}
	if err := os.Remove(filepath.Join(state, "tls.pem")); err != nil {
		t.Fatal(err)
	}
	p, ctx = start("a.example", ca.Token)
	if _, err := Identity(ctx, p); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("with another key: %v, want ErrUnavailable", err)
	}
}

// HurriesNoFailedRenewal is about a certificate in the last third of its life while the authority is away: it serves,
// and the next attempt is at random in the next minute, but not at once.
func (e Example) HurriesNoFailedRenewal(t TB) {
	t.Helper()
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
	p, ctx := e.Open(t, Settings(nil, state), nil)
	id, err := Identity(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(id.Certificate.Leaf.Raw, der) {
		t.Errorf("the certificate is another one")
	}
	// From half a minute; the plugin counts what has passed since its attempt.
	if id.RefreshAfter < 5*time.Second || id.RefreshAfter > time.Minute {
		t.Errorf("to be renewed in %v, want at most a minute and no haste", id.RefreshAfter)
	}
}

// JudgesWithoutUse holds an example to this: Validate finds what cannot work, and changes nothing.
func (e Example) JudgesWithoutUse(t TB) {
	t.Helper()
	p, ctx := e.Open(t, Settings(nil, t.TempDir()), nil)
	other := filepath.Join(t.TempDir(), "other")
	if err := p.Validate(ctx, Settings(nil, other), nil); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if Exists(other) {
		t.Errorf("Validate made the folder")
	}
	for want, bad := range map[string]struct{ name, value string }{
		"state": {"state", "relative"}, "url": {"url", "ftp://127.0.0.1"}, "name": {"name", ""}, "nonsense": {"nonsense", "x"},
	} {
		settings := Settings(nil, other)
		settings[bad.name] = bad.value
		var field *sdk.ConfigError
		if err := p.Validate(ctx, settings, nil); !errors.As(err, &field) || field.Field != want {
			t.Errorf("Validate: %v, want a ConfigError that names %s", err, want)
		}
	}
	var field *sdk.ConfigError
	err := p.Validate(ctx, Settings(nil, other), map[string]plugin.Secret{"token": "two\nlines"})
	if !errors.As(err, &field) || field.Field != "token" || strings.Contains(err.Error(), "lines") {
		t.Errorf("Validate: %v, want a ConfigError that names token and does not tell it", err)
	}
}

// ClosesAfterTheCalls is about the plugin in testdata/slow, whose calls wait for the file "release": the providers of
// a configuration that has ended are closed when their calls have.
func (e Example) ClosesAfterTheCalls(t TB) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	p, ctx := e.Open(t, map[string]string{"dir": dir}, nil)
	if err := p.Validate(ctx, nil, nil); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("Validate of a plugin without it: %v, want ErrUnsupported", err)
	}
	trust, err := p.Trust()
	if err != nil {
		t.Fatal(err)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() { ended <- trust.(sdk.Watcher).Watch(watching, func() { watched <- struct{}{} }) }()
	<-watched
	pulled := make(chan error, 1)
	go func() {
		_, err := trust.TrustBundle(ctx)
		pulled <- err
	}()
	Eventually(t, "the call is under way", func() bool { return Exists(at("called-1")) })
	if err := p.Configure(ctx, map[string]string{"dir": dir, "again": "yes"}, nil); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the watch of the old configuration has ended", func() bool { return Exists(at("watch-ended-1")) })
	if Exists(at("closed-1")) {
		t.Errorf("the providers were closed under a call")
	}
	if err := os.WriteFile(at("release"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// What it pulls is an error on purpose: it says what the call found.
	if err := <-pulled; err == nil || !strings.Contains(err.Error(), "open to the end") {
		t.Errorf("the call under way: %v", err)
	}
	Eventually(t, "the old providers are closed", func() bool { return Exists(at("closed-1")) })
	if Exists(at("closed-2")) {
		t.Errorf("the providers in force were closed")
	}
	stop()
	<-ended
}

// Exists reports whether a file is there.
func Exists(name string) bool { _, err := os.Stat(name); return err == nil }

// Eventually waits for a condition.
func Eventually(t TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
