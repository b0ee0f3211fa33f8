// Package node holds the tests of the plugin in Node.
package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/examples/internal/plugincheck"
	"github.com/alphaonedev/federation/examples/internal/smallca"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func TestThePluginConforms(t *testing.T) {
	node := plugincheck.Node(t, ".")
	plugincheck.Run(t, node, absolute(t, "plugin.mjs"))
}

// TestThePluginRunsFromItsManifest opens the plugin as a node does: every file of it pinned, its packages too.
func TestThePluginRunsFromItsManifest(t *testing.T) {
	node := plugincheck.Node(t, ".")
	text, err := exec.Command(plugincheck.Build(t, "sdk/plugin/plugincheck"), "-manifest", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := plugin.ReadManifest(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := smallca.Start("127.0.0.1:0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	state := t.TempDir()
	p, ctx := open(t, plugin.Config{
		Path: node, Args: []string{"plugin.mjs"}, Dir: absolute(t, "."), Files: files,
		Settings: map[string]string{"url": ca.URL, "root-sha256": ca.SHA256, "name": "a.example", "state": state},
		Secrets:  map[string]plugin.Secret{"token": plugin.Secret(ca.Token)},
	})
	identity, err := p.Identity()
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if names := id.Certificate.Leaf.DNSNames; !slices.Equal(names, []string{"a.example"}) {
		t.Errorf("the certificate is for %v", names)
	}
	// Two thirds of the hour that the certificate lasts.
	if id.RefreshAfter < 30*time.Minute || id.RefreshAfter > 45*time.Minute {
		t.Errorf("to be renewed in %v", id.RefreshAfter)
	}

	bad := map[string]string{"url": ca.URL, "root-sha256": ca.SHA256, "name": "a.example", "state": "state"}
	var config *sdk.ConfigError
	if err := p.Configure(ctx, bad, nil); !errors.As(err, &config) || config.Field != "state" {
		t.Errorf("a folder that is not absolute: %v, want an error that names the field", err)
	}
}

// TestAKeyThatIsReplacedIsAnnounced takes the key away under a plugin that is watched.
func TestAKeyThatIsReplacedIsAnnounced(t *testing.T) {
	node := plugincheck.Node(t, ".")
	state := t.TempDir()
	p, ctx := open(t, plugin.Config{
		Path: node, Args: []string{absolute(t, "plugin.mjs")}, Unpinned: true,
		Settings: map[string]string{"url": "https://127.0.0.1:1", "root-sha256": "00", "name": "a.example", "state": state},
	})
	provider, err := p.Key()
	if err != nil {
		t.Fatal(err)
	}
	before, err := provider.SigningKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changes := make(chan struct{}, 100)
	watch, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- provider.(sdk.Watcher).Watch(watch, func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		})
	}()
	<-changes // the watch has begun
	if err := os.Remove(filepath.Join(state, "message.pem")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changes:
	case err := <-ended:
		t.Fatalf("the watch ended: %v", err)
	}
	after, err := provider.SigningKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before.Active.Public().(ed25519.PublicKey).Equal(after.Active.Public()) {
		t.Error("the key is the one of before")
	}
	stop()
	<-ended
}

// The chain is kept beside its key: a process that starts while the authority is away serves with it.
func TestANewProcessServesWithTheChainOfTheOldOne(t *testing.T) {
	node := plugincheck.Node(t, ".")
	ca, err := smallca.Start("127.0.0.1:0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	start := func(name, state, token string) *plugin.Plugin {
		p, err := plugin.Open(ctx, plugin.Config{
			Path: node, Args: []string{absolute(t, "plugin.mjs")}, Unpinned: true,
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
	node := plugincheck.Node(t, ".")
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
	p, ctx := open(t, plugin.Config{
		Path: node, Args: []string{absolute(t, "plugin.mjs")}, Unpinned: true,
		Settings: map[string]string{"url": "https://127.0.0.1:1", "root-sha256": "00", "name": "a.example", "state": state},
	})
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
	node := plugincheck.Node(t, ".")
	settings := func(state string) map[string]string {
		return map[string]string{"url": "https://127.0.0.1:1", "root-sha256": "00", "name": "a.example", "state": state}
	}
	script := func(name string, settings map[string]string) (*plugin.Plugin, context.Context) {
		return open(t, plugin.Config{Path: node, Args: []string{absolute(t, name)}, Unpinned: true, Settings: settings})
	}
	p, ctx := script("plugin.mjs", settings(t.TempDir()))
	other := filepath.Join(t.TempDir(), "other")
	if err := p.Validate(ctx, settings(other), nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("Validate made the folder")
	}
	var field *sdk.ConfigError
	if err := p.Validate(ctx, settings("relative"), nil); !errors.As(err, &field) || field.Field != "state" {
		t.Errorf("Validate: %v, want a ConfigError that names state", err)
	}
	// A plugin without validate says so.
	p, ctx = script("testdata/slow.mjs", map[string]string{"dir": t.TempDir()})
	if err := p.Validate(ctx, nil, nil); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("Validate: %v, want ErrUnsupported", err)
	}
}

func TestProvidersAreClosedWhenTheCallsUnderWayHaveEnded(t *testing.T) {
	node := plugincheck.Node(t, ".")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	p, ctx := open(t, plugin.Config{
		Path: node, Args: []string{absolute(t, "testdata/slow.mjs")}, Unpinned: true, Settings: map[string]string{"dir": dir},
	})
	trust, err := p.Trust()
	if err != nil {
		t.Fatal(err)
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{}, 100)
	ended := make(chan error, 1)
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

// TestEveryTypeOfKeySignsHandshakes is about handshake.mjs, which pads and signs digests by itself.
func TestEveryTypeOfKeySignsHandshakes(t *testing.T) {
	node := plugincheck.Node(t, ".")
	check := plugincheck.Build(t, "sdk/plugin/plugincheck")
	rsa := []tls.SignatureScheme{
		tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512, tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512,
	}
	for name, schemes := range map[string][]tls.SignatureScheme{
		"ed25519":  {tls.Ed25519},
		"P-384":    {tls.ECDSAWithP384AndSHA384},
		"P-521":    {tls.ECDSAWithP521AndSHA512},
		"RSA-2048": rsa,
		"RSA-2049": rsa, // the padded digest has an octet less than the modulus
	} {
		t.Run(name, func(t *testing.T) {
			script := absolute(t, "testdata/keys.mjs")
			p, ctx := open(t, plugin.Config{
				Path: node, Args: []string{script}, Unpinned: true, Settings: map[string]string{"type": name},
			})
			identity, err := p.Identity()
			if err != nil {
				t.Fatal(err)
			}
			id, err := identity.Identity(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := id.Certificate.SupportedSignatureAlgorithms; !slices.Equal(got, schemes) {
				t.Errorf("declared are %v, want %v", got, schemes)
			}
			text, err := exec.Command(check, "-only", "roles,tls-algorithms", "-set", "type="+name, "--", node, script).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

// The file that authors copy is the same wherever it is shown, and so are the packages that it comes with.
func TestTheFilesToCopyAreThoseOfTheSkeleton(t *testing.T) {
	skeleton := filepath.FromSlash("../../sdk/plugin/plugincheck/skeleton/node")
	for _, name := range []string{"handshake.mjs", ".npmrc", "package.json", "package-lock.json"} {
		ours, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.ReadFile(filepath.Join(skeleton, name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		// The packages have names of their own.
		ours = bytes.ReplaceAll(ours, []byte(`"name": "plugin-node"`), []byte(`"name": "my-plugin"`))
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s differs from the skeleton's", name)
		}
		if bytes.Contains(ours, []byte("resolved")) && name == "package-lock.json" {
			t.Errorf("%s names a registry; .npmrc says that it should not", name)
		}
	}
}

func open(t *testing.T, c plugin.Config) (*plugin.Plugin, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	c.Limits.Start = 30 * time.Second
	p, err := plugin.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, ctx
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

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
