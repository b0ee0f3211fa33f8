// Command wan runs commands on hosts that are a wide-area network apart from each other.
//
//	wan -delay 20ms 'server -listen $WAN_0:8443' 'sleep 1; client $WAN_0:8443'
//
// Each argument is a shell command on a host of its own; WAN_0, WAN_1, … are the hosts' addresses. It ends when
// the last one has ended. SIGUSR1 blackholes the flows seen so far, SIGUSR2 lets everything pass again. It needs
// Linux and root.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/alphaonedev/federation/internal/wan"
)

func main() {
	delay := flag.Duration("delay", 20*time.Millisecond, "one-way delay; half the round trip")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: wan [-delay 20ms] command ...")
		os.Exit(2)
	}
	if err := run(*delay, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(delay time.Duration, commands []string) error {
	n, err := wan.New(delay, len(commands))
	if err != nil {
		return err
	}
	defer n.Close()
	defer onSignals(n)()
	env := os.Environ()
	for i := range commands {
		env = append(env, fmt.Sprintf("WAN_%d=%s", i, n.Host(i).IP()))
	}
	var running []*exec.Cmd
	for i, c := range commands {
		cmd := exec.Command("sh", "-c", c)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, os.Stdout, os.Stderr
		if err := n.Host(i).Start(cmd); err != nil {
			return err
		}
		running = append(running, cmd)
	}
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil {
			fmt.Fprintf(os.Stderr, "wan: %s: %v\n", commands[i], err)
		}
	}
	return nil
}
