// Vault runs a federation of three nodes whose trust, certificates and signatures come from a Vault server, and
// rotates all of them under traffic.
//
//	go run ./examples/vault
//
// It starts a Vault of its own, in memory, which it builds first if make vault-server has not (minutes, once). To
// see it with yours, where it makes and removes the mounts federation-pki and federation-transit, three AppRoles
// and their policies:
//
//	go run ./examples/vault -address https://vault.example:8200 -ca ca.pem -token-file ~/.vault-token
//
// It ends with exit status 0 only if no message failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	address := flag.String("address", "", "a Vault to use; default: one started here")
	ca := flag.String("ca", "", "PEM file with the CA of that Vault's certificate")
	tokenFile := flag.String("token-file", "", "file with a token that may set mounts, policies and roles up there")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, server{address: *address, ca: *ca, tokenFile: *tokenFile}); err != nil {
		fmt.Fprintln(os.Stderr, "vault example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s server) error {
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%6.2fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	if err := s.open(ctx, say); err != nil {
		return err
	}
	defer s.close()
	if err := s.setUp(ctx); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	defer s.tearDown()
	say("mounts, policies and one AppRole for each node are set up, as docs/vault.md tells")
	return story(ctx, &s, say)
}
