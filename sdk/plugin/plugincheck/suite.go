package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/providertest"
)

func lookTrust(ctx context.Context, t *target) error    { return suite(ctx, t, "trust") }
func lookIdentity(ctx context.Context, t *target) error { return suite(ctx, t, "identity") }
func lookKey(ctx context.Context, t *target) error      { return suite(ctx, t, "key") }

const suiteArg = "__suite"

// A suiteJob is what a process that runs a suite must know.
type suiteJob struct {
	Role     string
	Path     string
	Args     []string
	Env      []string
	Settings map[string]string
	Secrets  map[string]string // as such: a plugin.Secret hides itself
	Rotate   string
	Start    time.Duration
}

// suite runs a conformance suite of providertest with providers that come through the wire. The suites are
// tests, and package testing wants a process of its own for them.
func suite(ctx context.Context, t *target, role string) error {
	p, err := t.open(ctx)
	if err != nil {
		return err
	}
	roles := p.Status().Roles
	_ = p.Close()
	found := false
	for _, r := range roles {
		found = found || string(r) == role
	}
	if !found {
		return skip{"this configuration does not give the plugin the role " + role}
	}
	job := suiteJob{
		Role: role, Path: t.path, Args: t.args, Env: t.env, Settings: t.settings, Secrets: map[string]string{}, Rotate: t.rotate,
		Start: t.start,
	}
	for k, v := range t.secrets {
		job.Secrets[k] = string(v)
	}
	in, err := json.Marshal(job)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, suiteArg)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	switch text := strings.TrimSpace(string(out)); {
	case err != nil:
		return fmt.Errorf("%s\n%w", text, err)
	case !strings.Contains(text, "--- PASS: "+role) || strings.Contains(text, "no tests to run"):
		return errors.New("plugincheck itself failed: no test ran: " + text)
	}
	return nil
}

// runSuite is the process that suite starts.
func runSuite() {
	var job suiteJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Args = []string{os.Args[0], "-test.v"}
	test := map[string]func(*testing.T){
		"trust":    func(t *testing.T) { providertest.Trust(t, harness(job, (*plugin.Plugin).Trust)) },
		"identity": func(t *testing.T) { providertest.Identity(t, harness(job, (*plugin.Plugin).Identity)) },
		"key":      func(t *testing.T) { providertest.Key(t, harness(job, (*plugin.Plugin).Key)) },
	}[job.Role]
	testing.Main(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: job.Role, F: test}}, nil, nil)
}

// rotated has the material changed at the source.
func (t *target) rotated() error {
	if out, err := exec.Command("/bin/sh", "-c", t.rotate).CombinedOutput(); err != nil {
		return fmt.Errorf("the command of -rotate: %w: %s", err, out)
	}
	return nil
}

func harness[P any](job suiteJob, of func(*plugin.Plugin) (P, error)) providertest.Harness[P] {
	t := &target{
		path: job.Path, args: job.Args, env: job.Env, settings: job.Settings, secrets: map[string]plugin.Secret{},
		start: job.Start, rotate: job.Rotate,
	}
	h := providertest.Harness[P]{
		New: func(tb testing.TB) P {
			p, err := t.open(context.Background())
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { _ = p.Close() })
			provider, err := of(p)
			if err != nil {
				tb.Fatal(err)
			}
			return provider
		},
	}
	for k, s := range job.Secrets {
		t.secrets[k] = plugin.Secret(s)
		if len(s) >= 6 && !strings.Contains(s, "-----BEGIN CERTIFICATE") {
			h.Secrets = append(h.Secrets, s)
		}
	}
	if job.Rotate != "" {
		h.Rotate = func(tb testing.TB) {
			if err := t.rotated(); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return h
}
