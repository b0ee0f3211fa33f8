// Quickstart runs a federation of three nodes on this machine and shows what it does: a write that counts
// when two of three nodes have it, certificates and certificate authorities that change under traffic without a
// failed request, and peers that die and come back.
//
//	go run ./examples/quickstart          # an account, with times
//	go run ./examples/quickstart -json    # the same as one object
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
	asJSON := flag.Bool("json", false, "print one JSON object instead of the account")
	dir := flag.String("node", "", "be the node whose files are in this folder (how the program starts its nodes)")
	addr := flag.String("listen", "127.0.0.1:0", "address of that node")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if *dir != "" {
		if err := serve(ctx, folder(*dir), *addr); err != nil {
			fmt.Fprintf(os.Stderr, "node %s: %v\n", *dir, err)
			os.Exit(1)
		}
		return
	}

	ctx, cancelRun := context.WithTimeout(ctx, 2*time.Minute)
	defer cancelRun()
	r := &report{start: time.Now()}
	if !*asJSON {
		r.out = os.Stdout
	}
	if err := story(ctx, r); err != nil {
		r.check("the story ends", false, "%v", err)
	}
	ok := r.finish()
	if *asJSON {
		if err := r.json(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			ok = false
		}
	}
	if !ok {
		os.Exit(1)
	}
}
