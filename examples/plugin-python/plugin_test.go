// Package python holds the test of the plugin in Python.
package python

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alphaonedev/federation/examples/internal/plugincheck"
	"github.com/alphaonedev/federation/examples/internal/smallca"
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
