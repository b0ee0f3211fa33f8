// Stepca runs a federation of three nodes that a real step-ca enrols: each node knows the CA by its address and the
// fingerprint of its root, takes its certificate with the password of a provisioner, and has the CA vouch for its signing
// key. Certificates live for seconds, so that they are renewed while messages pass; the CA goes away and comes back; a node
// restarts.
//
//	go run ./examples/stepca             # the CA in this process
//	go run ./examples/stepca -process    # the step-ca command; building it takes minutes the first time
//
// It needs no set-up, leaves nothing behind, and ends with exit status 0 only if everything it claims held.
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
	process := flag.Bool("process", false, "run the step-ca command instead of a CA in this process")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	ctx, cancelRun := context.WithTimeout(ctx, 10*time.Minute)
	defer cancelRun()
	if err := run(ctx, *process); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, process bool) error {
	dir, err := os.MkdirTemp("", "stepca-example")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{dir: dir, start: time.Now()}
	defer s.end()
	if s.ca, err = startCA(ctx, process); err != nil {
		return err
	}
	for _, chapter := range []func(context.Context) error{s.enrol, s.vouch, s.renew, s.outage, s.restart} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}
