// Package python holds the test of the plugin in Python.
package python

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alphaonedev/federation/examples/internal/plugincheck"
	"github.com/alphaonedev/federation/examples/internal/smallca"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
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
	p, ctx := plugincheck.Open(t, plugin.Config{
		Path: python, Args: []string{"plugin.py"}, Dir: dir, Files: files,
		Settings: plugincheck.Settings(ca, t.TempDir()),
		Secrets:  map[string]plugin.Secret{"token": plugin.Secret(ca.Token)},
	})
	id, err := plugincheck.Identity(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if names := id.Certificate.Leaf.DNSNames; len(names) != 1 || names[0] != "a.example" {
		t.Errorf("the certificate is for %v", names)
	}
}

func TestANewProcessServesWithTheChainOfTheOldOne(t *testing.T) {
	example(t, "plugin.py").KeepsItsChain(t)
}

func TestAFailedRenewalIsNotRepeatedAtOnce(t *testing.T) {
	example(t, "plugin.py").HurriesNoFailedRenewal(t)
}

func TestAConfigurationIsJudgedWithoutBeingUsed(t *testing.T) {
	example(t, "plugin.py").JudgesWithoutUse(t)
}

func TestProvidersAreClosedWhenTheCallsUnderWayHaveEnded(t *testing.T) {
	example(t, "testdata/slow.py").ClosesAfterTheCalls(t)
}

func TestWhatWatchRaisesReachesTheNode(t *testing.T) {
	p, ctx := example(t, "testdata/polled.py").Open(t, nil, nil)
	trust, err := p.Trust()
	if err != nil {
		t.Fatal(err)
	}
	if err := trust.(sdk.Watcher).Watch(ctx, func() {}); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("Watch: %v, want ErrUnsupported", err)
	}
}

// example is a plugin of this folder.
func example(t *testing.T, script string) plugincheck.Example {
	t.Helper()
	python := plugincheck.Python(t, ".")
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	return plugincheck.Example{
		Path: python, Args: []string{"-B", filepath.Join(folder, script)}, Env: []string{"PYTHONPATH=" + folder},
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
			example(t, "testdata/remote.py").SignsElsewhere(t, kms, c.rules, c.declare, c.schemes)
		})
	}
}

func TestWhyAKeyElsewhereDoesNotSignReachesTheNode(t *testing.T) {
	example(t, "testdata/remote.py").TellsWhySigningFails(t)
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
