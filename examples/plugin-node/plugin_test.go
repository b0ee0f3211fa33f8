// Package node holds the tests of the plugin in Node.
package node

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/alphaonedev/federation/examples/internal/plugincheck"
	"github.com/alphaonedev/federation/examples/internal/smallca"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
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
	p, ctx := plugincheck.Open(t, plugin.Config{
		Path: node, Args: []string{"plugin.mjs"}, Dir: absolute(t, "."), Files: files,
		Settings: plugincheck.Settings(ca, t.TempDir()),
		Secrets:  map[string]plugin.Secret{"token": plugin.Secret(ca.Token)},
	})
	id, err := plugincheck.Identity(ctx, p)
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

	bad := plugincheck.Settings(ca, "state")
	var config *sdk.ConfigError
	if err := p.Configure(ctx, bad, nil); !errors.As(err, &config) || config.Field != "state" {
		t.Errorf("a folder that is not absolute: %v, want an error that names the field", err)
	}
}

// TestAKeyThatIsReplacedIsAnnounced takes the key away under a plugin that is watched.
func TestAKeyThatIsReplacedIsAnnounced(t *testing.T) {
	state := t.TempDir()
	p, ctx := example(t, "plugin.mjs").Open(t, plugincheck.Settings(nil, state), nil)
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

func TestANewProcessServesWithTheChainOfTheOldOne(t *testing.T) {
	example(t, "plugin.mjs").KeepsItsChain(t)
}

func TestAFailedRenewalIsNotRepeatedAtOnce(t *testing.T) {
	example(t, "plugin.mjs").HurriesNoFailedRenewal(t)
}

func TestAConfigurationIsJudgedWithoutBeingUsed(t *testing.T) {
	example(t, "plugin.mjs").JudgesWithoutUse(t)
}

func TestProvidersAreClosedWhenTheCallsUnderWayHaveEnded(t *testing.T) {
	example(t, "testdata/slow.mjs").ClosesAfterTheCalls(t)
}

// TestEveryTypeOfKeySignsHandshakes is about handshake.mjs, which pads and signs digests by itself.
func TestEveryTypeOfKeySignsHandshakes(t *testing.T) {
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
			keys := example(t, "testdata/keys.mjs")
			p, ctx := keys.Open(t, map[string]string{"type": name}, nil)
			id, err := plugincheck.Identity(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			if got := id.Certificate.SupportedSignatureAlgorithms; !slices.Equal(got, schemes) {
				t.Errorf("declared are %v, want %v", got, schemes)
			}
			text, err := exec.Command(check, "-start", "1m", "-only", "roles,tls-algorithms", "-set", "type="+name, "--", keys.Path, keys.Args[0]).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

// TestAKeyMayBeElsewhere is about RemoteKey, with a KMS in the place of private keys.
func TestAKeyMayBeElsewhere(t *testing.T) {
	const some = "roles,tls-algorithms,stale-key"
	rsa := sdktest.NewKey(t, sdktest.RSA2048)
	for _, c := range []struct {
		name, rules, declare string
		key                  crypto.Signer
		schemes              []tls.SignatureScheme
	}{
		{"P-256", "", "", sdktest.NewKey(t, sdktest.ECDSAP256), []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}},
		{"P-384", some, "", sdktest.NewKey(t, sdktest.ECDSAP384), []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}},
		{"Ed25519", some, "", sdktest.Ed25519(t), []tls.SignatureScheme{tls.Ed25519}},
		{"RSA", some, "", rsa, []tls.SignatureScheme{
			tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512, tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512,
		}},
		{"RSA for one scheme", some, "2053", rsa, []tls.SignatureScheme{tls.PSSWithSHA384}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kms := plugincheck.StartKMS(t, c.key)
			example(t, "testdata/remote.mjs").SignsElsewhere(t, kms, c.rules, c.declare, c.schemes)
			if c.name == "P-256" && kms.Requests() == 0 {
				t.Error("no signing request came")
			}
		})
	}
}

func TestWhyAKeyElsewhereDoesNotSignReachesTheNode(t *testing.T) {
	example(t, "testdata/remote.mjs").TellsWhySigningFails(t)
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

// example is a plugin of this folder.
func example(t *testing.T, script string) plugincheck.Example {
	t.Helper()
	return plugincheck.Example{Path: plugincheck.Node(t, "."), Args: []string{absolute(t, script)}}
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
