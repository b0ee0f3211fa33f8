package plugin_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk/plugin"
)

// A host is another process that has opened a plugin.
type host struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startHost(t *testing.T, path string) *host {
	t.Helper()
	cmd := exec.Command(path, "plugin", "host", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &host{cmd, bufio.NewScanner(out)}
}

func (h *host) pluginPID(t *testing.T) int {
	t.Helper()
	if !h.out.Scan() {
		t.Fatal("the host opened no plugin")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(h.out.Text()))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// beHost opens a plugin, says which process it is, and waits to be killed.
func beHost(path string) {
	p, err := plugin.Open(context.Background(), plugin.Config{
		Path: path, Unpinned: true, Args: []string{"plugin", "liar"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.Status().PID)
	select {}
}
