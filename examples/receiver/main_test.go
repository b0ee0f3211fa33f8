package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// program builds the receiver as a user does.
func program(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program and runs it")
	}
	out := filepath.Join(t.TempDir(), "receiver.exe")
	if text, err := exec.Command("go", "build", "-buildvcs=false", "-o", out, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// folder makes the four files that a node has.
func folder(t *testing.T, ca *sdktest.CA, leaf sdktest.Leaf) string {
	t.Helper()
	dir, id := t.TempDir(), ca.Issue(t, leaf)
	for name, data := range map[string][]byte{
		"ca.pem": ca.PEM(), "node.pem": id.CertPEM(), "node-key.pem": id.KeyPEM(), "node.ed25519": sdktest.KeyPEM(t, sdktest.Ed25519(t)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines starts the program and returns what it prints, line by line, until the end of the test.
func lines(t *testing.T, name string, args ...string) (stdout, stderr <-chan string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	follow := func(r io.ReadCloser, err error) <-chan string {
		if err != nil {
			t.Fatal(err)
		}
		out := make(chan string, 100)
		go func() {
			defer close(out)
			for s := bufio.NewScanner(r); s.Scan(); {
				out <- s.Text()
			}
		}()
		return out
	}
	stdout, stderr = follow(cmd.StdoutPipe()), follow(cmd.StderrPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range stdout { // Wait closes the pipes: not before they are read
		}
		for range stderr {
		}
		_ = cmd.Wait()
	})
	return stdout, stderr
}

func next(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case line, ok := <-from:
		if !ok {
			t.Fatal("the program has ended")
		}
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("the program says nothing")
	}
	return ""
}

func TestAMessageIsPrintedOnceAndAcked(t *testing.T) {
	receiver, ca := program(t), sdktest.NewCA(t)
	if out, err := exec.Command(receiver).CombinedOutput(); err == nil || !strings.Contains(string(out), "Peers[0].URL") {
		t.Errorf("without a peer it says %v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := folder(t, ca, sdktest.Leaf{DNS: []string{"localhost"}})
	stdout, stderr := lines(t, receiver, "-peer", "https://"+l.Addr().String(), "-listen", "127.0.0.1:0", "-dir", dir)
	id, addr, found := strings.Cut(next(t, stderr), " serves at ")
	if !found || !strings.HasSuffix(id, "localhost") {
		t.Fatalf("it says %q, want its name and address", id)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}

	own := folder(t, ca, sdktest.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fed, err := sdk.Builder{
		Trust:    &file.Trust{Path: filepath.Join(own, "ca.pem")},
		Identity: &file.Identity{Cert: filepath.Join(own, "node.pem"), Key: filepath.Join(own, "node-key.pem")},
		Key:      &file.Key{Path: filepath.Join(own, "node.ed25519")},
		Peers:    []sdk.Peer{{URL: "https://127.0.0.1:" + port, ServerName: "localhost"}},
		Quorum:   quorum.Policy{Writes: 2, AckTimeout: 30 * time.Second},
	}.Build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer fed.Close()
	server := fed.Server(fed.Handler(sdk.Inbound{}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.ServeTLS(l, "", "") // for its keys, which the receiver asks for
	}()
	defer func() {
		_ = server.Close()
		<-served
	}()

	push := func(operation, body string) {
		t.Helper()
		result, err := fed.Push(ctx, sdk.Message{Operation: operation, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if result.Acked != 2 || result.Receipt == nil {
			t.Errorf("%s: %d acks and receipt %v, want 2 and one: %s", operation, result.Acked, result.Receipt, result.Unproven)
		}
	}
	push("order-17", "ten bolts")
	push("order-17", "ten bolts") // again, as after a lost ack
	push("order-18", "ten nuts")
	for _, want := range []string{"order-17 from peer-0: ten bolts", "order-18 from peer-0: ten nuts"} {
		if got := next(t, stdout); got != want {
			t.Errorf("it prints %q, want %q", got, want)
		}
	}
}
