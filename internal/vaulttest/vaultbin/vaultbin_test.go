package vaultbin

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The server is under another licence than this module: it may be run, and must not be required.
func TestTheServerIsNotRequired(t *testing.T) {
	data, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?m)^.*github\.com/hashicorp/vault(/sdk)? v.*$`).Find(data); found != nil {
		t.Errorf("go.mod requires the server: %s", found)
	}
}

func TestThePathIsAbsoluteAndFollowsTheSources(t *testing.T) {
	path, err := Path()
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(path) || !regexp.MustCompile(`vault-server-[0-9a-f]{12}(\.exe)?$`).MatchString(path) {
		t.Errorf("path %q", path)
	}
}
