//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/alphaonedev/federation/internal/wan"
)

// onSignals lets signals blackhole and heal; the function returned ends that.
func onSignals(n *wan.Network) func() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1, syscall.SIGUSR2)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-ch:
				if s == syscall.SIGUSR1 {
					n.Blackhole()
				} else {
					n.Heal()
				}
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(ch); close(done) }
}
