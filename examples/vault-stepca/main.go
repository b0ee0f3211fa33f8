// Vault-stepca runs the federation of a company that has both: certificates come from step-ca, messages are signed in
// Vault's Transit engine, and the roots of step-ca and of a Vault PKI mount are trusted. Of the three nodes a and b have
// the providers in their process; c has step-ca as a plugin, so that nothing of step-ca is linked into it.
//
//	go run ./examples/vault-stepca
//
// It starts a step-ca in this process and a Vault of its own, in memory, which it builds first if it is missing (minutes,
// once). Then everything turns while messages pass: certificates, signing keys, the plugin's process, both backends. It
// ends with exit status 0 only if no message failed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/alphaonedev/federation/providers/stepca/stepcaplugin"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func main() {
	// The program is its own plugin, to be one command. In earnest that is federation-stepca.
	if len(os.Args) > 1 && os.Args[1] == "plugin" {
		(&plugin.Server{Name: "stepca", Configure: stepcaplugin.Configure, Validate: stepcaplugin.Validate}).Serve()
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	self, err := os.Executable()
	if err == nil {
		err = run(ctx, self)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

// run tells the story; self is the program that is the plugin.
func run(ctx context.Context, self string) error {
	dir, err := os.MkdirTemp("", "vault-stepca")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{dir: dir, self: self, start: time.Now()}
	defer s.end()
	for _, chapter := range []func(context.Context) error{s.backends, s.join, s.turn, s.killPlugin, s.outages} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}
