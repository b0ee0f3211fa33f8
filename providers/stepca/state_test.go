package stepca

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
)

func stateOf(t testing.TB, dir string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	must(t, err)
	return raw
}

func TestRestartDoesNotEnrolAgain(t *testing.T) {
	ca := startCA(t, stepcatest.Options{Intermediates: 2})
	dir := filepath.Join(t.TempDir(), "state")
	tok := mintToken(t, ca, stepcatest.Token{Subject: "a.example"})
	cfg := IdentityConfig{Names: []string{"a.example"}, Enrolment: tok}
	i := newClient(t, ca, withState(dir)).Identity(cfg)
	first := mustIdentity(t, i)
	second := mustIdentity(t, newClient(t, ca, withState(dir)).Identity(cfg))
	if !second.Certificate.Leaf.Equal(first.Certificate.Leaf) || len(second.Certificate.Certificate) != 3 {
		t.Error("a restart has another certificate, or half its chain")
	}
	i.makeDue()
	renewed := mustIdentity(t, i)
	if third := mustIdentity(t, newClient(t, ca, withState(dir)).Identity(cfg)); !third.Certificate.Leaf.Equal(renewed.Certificate.Leaf) {
		t.Error("the renewed certificate was not stored")
	}
	if n := ca.Requests.Count("POST", "/sign"); n != 1 {
		t.Errorf("%d enrolments, want 1", n)
	}
	assertMode(t, dir, 0o700)
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		assertMode(t, filepath.Join(dir, e.Name()), 0o600)
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("a temporary file is left: %s", e.Name())
		}
	}
}

func assertMode(t testing.TB, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

func TestRestartWithoutTheCA(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	dir := t.TempDir()
	cfg := IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}
	keyCfg := KeyConfig{Names: []string{"a.example"}, Enrolment: keys()}
	c := newClient(t, ca, withState(dir))
	first := mustIdentity(t, c.Identity(cfg))
	firstKey := mustKeys(t, c.Key(keyCfg))
	mustTrust(t, c.Trust(TrustConfig{}))
	must(t, ca.Stop())

	c = newClient(t, ca, withState(dir))
	trust := c.Trust(TrustConfig{})
	if b := mustTrust(t, trust); len(b.Roots) != 1 || b.RefreshAfter > time.Minute {
		t.Errorf("%d roots, to be refreshed after %v; want the stored one, soon", len(b.Roots), b.RefreshAfter)
	}
	_, err := trust.TrustBundle(t.Context()) // who has a bundle is told
	wantError(t, err, sdk.ErrUnavailable)
	i := c.Identity(cfg)
	if id := mustIdentity(t, i); !id.Certificate.Leaf.Equal(first.Certificate.Leaf) {
		t.Error("another certificate")
	}
	if set := mustKeys(t, c.Key(keyCfg)); !samePub(set.Active.Public(), firstKey.Active.Public()) {
		t.Error("another signing key")
	}

	// Due, and the CA still down: the first pull after a start has it, the next has the error.
	c = newClient(t, ca, withState(dir))
	c.now = func() time.Time { return time.Now().Add(20 * time.Hour) }
	i = c.Identity(cfg)
	if id := mustIdentity(t, i); !id.Certificate.Leaf.Equal(first.Certificate.Leaf) || id.RefreshAfter > time.Minute {
		t.Errorf("want the stored certificate, and to be asked again soon (%v)", id.RefreshAfter)
	}
	_, err = i.Identity(t.Context())
	wantError(t, err, sdk.ErrUnavailable, "renewing")
	k := c.Key(keyCfg)
	if set := mustKeys(t, k); !samePub(set.Active.Public(), firstKey.Active.Public()) {
		t.Error("another signing key")
	}
	_, err = k.SigningKeys(t.Context())
	wantError(t, err, sdk.ErrUnavailable)

	// Asleep past expiry, and the CA still down.
	c = newClient(t, ca, withState(dir))
	c.now = func() time.Time { return time.Now().Add(30 * time.Hour) }
	i = c.Identity(cfg)
	_, err = i.Identity(t.Context())
	wantError(t, err, sdk.ErrUnavailable, "ended at", "refused")
	if errors.Is(err, sdk.ErrExpired) {
		t.Errorf("the error sends people to the provisioner, and the CA is down: %v", err)
	}
	must(t, ca.Start())
	c.now = time.Now
	mustIdentity(t, i)
}

func TestStateThatCannotBeUsed(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	other := startCA(t, stepcatest.Options{Name: "other"})
	otherDir := t.TempDir()
	cfg := IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}
	mustIdentity(t, newClient(t, other, withState(otherDir)).Identity(cfg))

	edit := func(f func(map[string]any)) func([]byte) []byte {
		return func(raw []byte) []byte {
			var doc map[string]any
			_ = json.Unmarshal(raw, &doc)
			f(doc)
			out, _ := json.Marshal(doc)
			return out
		}
	}
	for name, damage := range map[string]func([]byte) []byte{
		"half written":       func(raw []byte) []byte { return raw[:len(raw)/2] },
		"empty":              func([]byte) []byte { return nil },
		"zeros":              func(raw []byte) []byte { return make([]byte, len(raw)) },
		"of another CA":      func([]byte) []byte { return stateOf(t, otherDir) },
		"of another version": edit(func(d map[string]any) { d["version"] = 99 }),
		"without the key":    edit(func(d map[string]any) { delete(d["certificates"].([]any)[0].(map[string]any), "key") }),
		"another key": edit(func(d map[string]any) {
			var foreign map[string]any
			_ = json.Unmarshal(stateOf(t, otherDir), &foreign)
			d["certificates"].([]any)[0].(map[string]any)["key"] = foreign["certificates"].([]any)[0].(map[string]any)["key"]
		}),
		"chain flipped": func(raw []byte) []byte { return bytes.Replace(raw, []byte("MII"), []byte("MIJ"), 1) },
		"enormous":      func([]byte) []byte { return make([]byte, maxState+2) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := mustIdentity(t, newClient(t, ca, withState(dir)).Identity(cfg))
			path := filepath.Join(dir, "identity.json")
			must(t, os.WriteFile(path, damage(stateOf(t, dir)), 0o600))

			// Enrolling again needs no help.
			id := mustIdentity(t, newClient(t, ca, withState(dir)).Identity(cfg))
			if id.Certificate.Leaf.Equal(first.Certificate.Leaf) {
				t.Error("the damaged state was used")
			}
			if _, err := os.Stat(path + ".bad"); err != nil {
				t.Errorf("the damaged file was not kept: %v", err)
			}
			if again := mustIdentity(t, newClient(t, ca, withState(dir)).Identity(cfg)); !again.Certificate.Leaf.Equal(id.Certificate.Leaf) {
				t.Error("the new state was not stored")
			}

			// Where it cannot, the error says why it had to.
			must(t, os.WriteFile(path, damage(stateOf(t, dir)), 0o600))
			_, err := newClient(t, ca, withState(dir)).Identity(IdentityConfig{
				Names: cfg.Names, Enrolment: JWK{Provisioner: "nobody", Password: password},
			}).Identity(t.Context())
			wantError(t, err, sdk.ErrPermission, "stored state cannot be used", path)
			if bytes.Contains([]byte(err.Error()), []byte("PRIVATE")) {
				t.Error("the error quotes the file")
			}
		})
	}
}

func TestStateThatCannotBeReadOrWritten(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	cfg := IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}
	t.Run("a folder in its place", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "identity.json"), 0o700))
		_, err := newClient(t, ca, withState(dir)).Identity(cfg).Identity(t.Context())
		wantError(t, err, sdk.ErrConfig, "StateDir")
	})
	t.Run("a file in the folder's place", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(path, nil, 0o600))
		_, err := newClient(t, ca, withState(path)).Identity(cfg).Identity(t.Context())
		wantError(t, err, sdk.ErrConfig, "StateDir")
	})
}

func TestTwoProvidersOfOneNameAreRefused(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	c := newClient(t, ca, withState(t.TempDir()))
	cfg := IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}
	must(t, c.Identity(cfg).Validate())
	wantError(t, c.Identity(cfg).Validate(), sdk.ErrConfig, "StateName", "taken")
}
