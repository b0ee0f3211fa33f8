package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// A process is a node that runs in a process of its own: this program again, told so by its arguments. It
// writes the address it listens on to standard output, reads its peers from standard input, and says when it
// is ready. It ends when its standard input does, so it does not outlive the program that started it.
type process struct {
	member
	dir    folder
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// launch starts the process, on the address it had before if it had one.
func (p *process) launch(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if p.Addr == "" {
		p.Addr = "127.0.0.1:0"
	}
	p.cmd = exec.CommandContext(ctx, self, "-node", string(p.dir), "-listen", p.Addr)
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return err
	}
	return p.hear(&p.Addr)
}

// join tells the process who its peers are, and waits until it serves.
func (p *process) join(peers []member) error {
	if err := json.NewEncoder(p.stdin).Encode(peers); err != nil {
		return err
	}
	var ready bool
	return p.hear(&ready)
}

func (p *process) hear(v any) error {
	line, err := p.stdout.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("node %s: %w", p.Name, err)
	}
	return json.Unmarshal(line, v)
}

// kill ends the process as a power failure would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// stop asks the process to end.
func (p *process) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
}

// serve is the other side: a node in its own process.
func serve(ctx context.Context, dir folder, addr string) error {
	n, err := listen(addr)
	if err != nil {
		return err
	}
	defer n.listener.Close()
	out, in := json.NewEncoder(os.Stdout), json.NewDecoder(os.Stdin)
	if err := out.Encode(n.listener.Addr().String()); err != nil {
		return err
	}
	var peers []member
	if err := in.Decode(&peers); err != nil {
		return err
	}
	if err := n.join(ctx, dir, peers); err != nil {
		return err
	}
	if err := out.Encode(true); err != nil {
		return err
	}
	if err := in.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("standard input: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return n.leave(ctx)
}
