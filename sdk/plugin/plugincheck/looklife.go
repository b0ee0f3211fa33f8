package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/alphaonedev/federation/sdk/plugin"
)

func lookKill(ctx context.Context, t *target) error {
	p, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	sign, err := signers(ctx, p)
	if err != nil {
		return err
	}
	for range 3 {
		before := p.Status()
		// Signatures are under way when it dies.
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for i := range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_ = sign[i%len(sign)](ctx)
					}
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		err := killPID(before.PID)
		for now := p.Status(); err == nil && (now.Generation == before.Generation || now.State != plugin.Serving); now = p.Status() {
			select {
			case <-ctx.Done():
				err = fmt.Errorf("no new process got into service: %s", now.LastError)
			case <-time.After(5 * time.Millisecond):
			}
		}
		close(stop)
		wg.Wait()
		if err != nil {
			return err
		}
		again, err := signers(ctx, p)
		if err != nil {
			return fmt.Errorf("after the kill: %w", err)
		}
		for i := range again {
			if err := again[i](ctx); err != nil {
				return fmt.Errorf("a signature after the kill: %w", err)
			}
			if err := sign[i](ctx); err != nil {
				return fmt.Errorf("with the key of before the kill, which the new process should have: %w", err)
			}
		}
		// Long enough for the next death to be the first of a series again.
		time.Sleep(600 * time.Millisecond)
	}
	return nil
}

func killPID(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

// stopBound is what a node grants before it kills: the default of Limits.Stop.
const stopBound = 2 * time.Second

func lookStop(ctx context.Context, t *target) error {
	var err error
	for range 3 { // a busy machine may be late, but hardly each time
		if err = stops(ctx, t); err == nil {
			break
		}
	}
	return err
}

func stops(ctx context.Context, t *target) error {
	p, _, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	asked, cancel := context.WithTimeout(ctx, stopBound)
	defer cancel()
	how := "GRPCController/Shutdown"
	if err := p.shutdown(asked); status.Code(err) == codes.Unimplemented {
		if runtime.GOOS == "windows" {
			return errors.New("GRPCController/Shutdown is UNIMPLEMENTED, and there is no SIGTERM here")
		}
		how = "SIGTERM"
		if err := p.cmd.Process.Signal(terminate); err != nil {
			return err
		}
	}
	timer := time.NewTimer(stopBound)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("%v after %s it runs on", stopBound, how)
	}
}

// hostDeathWait is how long a plugin may outlive its host: seconds on a machine that is busy.
const hostDeathWait = 15 * time.Second

const hostArg = "__host"

func lookHostDeath(ctx context.Context, t *target) error {
	if runtime.GOOS == "windows" {
		return skip{"looked at on Unix only"}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.start)
	defer cancel()
	host := exec.CommandContext(ctx, self, append([]string{hostArg, t.path}, t.args...)...)
	host.Env = append(os.Environ(), "PLUGINCHECK_ENV="+strings.Join(t.env, "\x1f"))
	out, err := host.StdoutPipe()
	if err != nil {
		return err
	}
	if err := host.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	first, _ := lines.ReadString('\n')
	pid, perr := strconv.Atoi(strings.TrimSpace(first))
	second, err := lines.ReadString('\n') // once the plugin has shaken hands
	_ = host.Process.Kill()
	_ = host.Wait()
	if err != nil || perr != nil {
		if perr == nil {
			_ = killPID(pid)
		}
		return fmt.Errorf("the plugin did not start within %v under a host of its own: %q", t.start, first+second)
	}
	for deadline := time.Now().Add(hostDeathWait); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if !running(pid) {
			return nil
		}
	}
	_ = killPID(pid)
	return fmt.Errorf("process %d was alive %v after its host had been killed", pid, hostDeathWait)
}

// beHost starts the plugin as an ordinary child, without what a real host does for its end, prints its
// process id and, once the plugin has shaken hands, another line, and waits to be killed.
func beHost(path string) {
	dir, err := socketDir()
	if err != nil {
		os.Exit(1)
	}
	_, pem, err := certificate()
	if err != nil {
		os.Exit(1)
	}
	cmd := exec.Command(path, os.Args[3:]...)
	cmd.Dir = string(filepath.Separator)
	cmd.Env = []string{
		"FEDERATION_PLUGIN=federation.plugin.v1", "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000",
		"PLUGIN_UNIX_SOCKET_DIR=" + dir, "PLUGIN_CLIENT_CERT=" + string(pem),
	}
	if extra := os.Getenv("PLUGINCHECK_ENV"); extra != "" {
		cmd.Env = append(cmd.Env, strings.Split(extra, "\x1f")...)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		os.Exit(1)
	}
	if err := cmd.Start(); err != nil {
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	_, err = bufio.NewReader(out).ReadString('\n')
	os.RemoveAll(dir)
	if err != nil {
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

func lookFlat(ctx context.Context, t *target) error {
	p, roles, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	revision := uint64(1)
	turn := func(n int) error {
		for i := range n {
			revision++
			if _, err := p.configure(ctx, t.configuration(revision)); err != nil {
				return fmt.Errorf("reconfiguration %d: %w", revision, err)
			}
			if i%50 == 0 {
				if err := errors.Join(p.serves(ctx, roles), p.signs(ctx, roles)); err != nil {
					return fmt.Errorf("after reconfiguration %d: %w", revision, err)
				}
			}
		}
		return p.serves(ctx, roles)
	}
	if err := turn(max(t.cycles/5, 1)); err != nil { // caches fill, allocators settle
		return err
	}
	before, ok := usage(p.cmd.Process.Pid)
	logged := p.stderr.written()
	if err := turn(t.cycles); err != nil {
		return err
	}
	if per := (p.stderr.written() - logged) / t.cycles; per > 4<<10 {
		return fmt.Errorf("it logs %d bytes for each reconfiguration", per)
	}
	if !ok {
		return skip{"every reconfiguration passed; memory and descriptors cannot be read on this platform"}
	}
	most := before.plus(resources{memory: 32 << 20, files: 16, threads: 100, children: 16})
	after := before
	for range 20 { // what is about to be closed, is
		if after, ok = usage(p.cmd.Process.Pid); ok && after.within(most) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("over %d reconfigurations it went from %v to %v; allowed is %v", t.cycles, before, after, most)
}
