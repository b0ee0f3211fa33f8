package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	maxHandshake = 8 << 10                // octets of the handshake line
	pipeGrace    = 200 * time.Millisecond // for what an ended process has left in its pipes
)

// A process is one run of a plugin's executable. It is go-plugin's runner.Runner, without what makes a host
// depend on the good will of the plugin: the pipes are ours, are always read, and are closed soon after the
// process has ended, whoever still holds them.
type process struct {
	cmd    *exec.Cmd
	name   string
	limits Limits
	logs   *logReader
	dir    string // sockets must lie here

	stdout, stderr *os.File      // our ends
	first          chan string   // the handshake line; closed after it, or at the end of output
	shake          *handshake    // what came through first; guarded by the close of seen
	bad            error         // why there is no shake; likewise
	seen           chan struct{} // closed when either is set

	exited chan struct{} // closed when the process is gone and its pipes are read
	err    error         // how it ended; guarded by the close of exited
	pid    int

	kill    sync.Mutex // guards what follows against a process id that is somebody else's by now
	gone    bool
	aborted bool // killed before it started
	running bool
	job     job
}

var _ runner.Runner = (*process)(nil)

func newProcess(c *Config, logs *logReader) *process {
	return &process{
		name: c.Path, limits: c.Limits, logs: logs,
		first: make(chan string, 1), seen: make(chan struct{}), exited: make(chan struct{}),
	}
}

// prepare readies a run of im. It changes cmd, which go-plugin made and which holds the environment of the
// handshake.
func (p *process) prepare(im *image, c *Config, cmd *exec.Cmd, dir string) {
	cmd.Path, cmd.Args, cmd.Dir = im.path, append([]string{im.argv0}, c.Args...), im.dir
	cmd.Err = nil   // of a look-up of the empty name
	cmd.Stdin = nil // the null device
	for _, e := range c.Env {
		if !strings.Contains(e, "=") {
			value, ok := os.LookupEnv(e)
			if !ok {
				continue
			}
			e += "=" + value
		}
		cmd.Env = append(cmd.Env, e)
	}
	setAttributes(cmd)
	p.cmd, p.dir = cmd, dir
}

// Start starts the process. A thread of its own starts it and waits for it, because "die with the parent"
// means, on Linux, with the thread that started it.
func (p *process) Start(context.Context) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		outW.Close()
		return err
	}
	p.stdout, p.stderr = outR, errR
	p.cmd.Stdout, p.cmd.Stderr = outW, errW

	started := make(chan error, 1)
	var readers sync.WaitGroup
	readers.Add(2)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := notStarted(p.cmd.Start())
		outW.Close()
		errW.Close()
		if err == nil {
			err = p.begin()
		}
		started <- err
		if err != nil {
			return
		}
		err = waitOnly(p.cmd)
		p.kill.Lock() // nobody signals the group from here on
		killGroup(p.pid, p.job)
		if rerr := reap(p.cmd); rerr != nil {
			err = rerr
		}
		p.gone = true
		p.kill.Unlock()
		p.job.close()
		// A grandchild that left the group may hold the pipes for ever.
		deadline := time.Now().Add(pipeGrace)
		_ = outR.SetReadDeadline(deadline)
		_ = errR.SetReadDeadline(deadline)
		readers.Wait()
		outR.Close()
		errR.Close()
		p.err = exitError(p.cmd, err)
		close(p.exited)
	}()
	if err := <-started; err != nil {
		outR.Close()
		errR.Close()
		close(p.first)
		close(p.seen)
		p.err = err
		close(p.exited)
		return err
	}
	go func() { defer readers.Done(); p.readStdout(outR) }()
	go func() { defer readers.Done(); p.logs.read(errR) }()
	return nil
}

// notStarted says what to do about a file that the system does not execute.
func notStarted(err error) error {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err
	}
	switch { // the path may be one in memory, which says nothing
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("%w: %w: Args and Env are longer than the system takes; settings may be long", fault.ErrConfig, pe.Err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w: %w: it is no program for this machine; a script begins with #! and its interpreter", fault.ErrConfig, pe.Err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w: the file, or the interpreter that it begins with, is not there", fault.ErrConfig, pe.Err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w: look at the modes of the file and its interpreter, and whether their file system is mounted noexec",
			fault.ErrPermission, pe.Err)
	}
	return err
}

// begin takes note of a process that has just started, and ends it where it may not go on.
func (p *process) begin() error {
	p.kill.Lock()
	defer p.kill.Unlock()
	job, err := confine(p.cmd.Process, p.limits)
	if err == nil && p.aborted {
		err = context.Canceled
	}
	if err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		job.close()
		return err
	}
	p.pid, p.job, p.running = p.cmd.Process.Pid, job, true
	return nil
}

// readStdout takes the handshake line and hands the rest to the log, however much it is.
func (p *process) readStdout(r io.Reader) {
	br := bufio.NewReaderSize(r, maxHandshake)
	p.shake, p.bad = readHandshake(br)
	close(p.seen)
	if h := p.shake; h != nil {
		// As go-plugin wants it, whatever padding the plugin chose.
		p.first <- fmt.Sprintf("1|%d|%s|%s|grpc|\n", protocolVersion, h.network, h.address)
	}
	close(p.first)
	p.logs.readPlain(br)
}

// Stdout gives go-plugin the handshake line and nothing more.
func (p *process) Stdout() io.ReadCloser { return &lineReader{lines: p.first} }

// Stderr gives go-plugin nothing: its reader panics on lines that a plugin may well write.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

type lineReader struct {
	lines <-chan string
	rest  string
}

func (r *lineReader) Read(b []byte) (int, error) {
	if r.rest == "" {
		line, ok := <-r.lines
		if !ok {
			return 0, io.EOF
		}
		r.rest = line
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *lineReader) Close() error { return nil }

// Name is the plugin's path.
func (p *process) Name() string { return p.name }

// ID is the process id.
func (p *process) ID() string { return strconv.Itoa(p.pid) }

// Diagnose adds nothing: launch has better words.
func (p *process) Diagnose(context.Context) string { return "" }

// Wait waits until the process is gone.
func (p *process) Wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill ends the process and everything in its group at once. It does not wait.
func (p *process) Kill(context.Context) error {
	p.kill.Lock()
	defer p.kill.Unlock()
	p.aborted = true
	if p.running && !p.gone {
		killGroup(p.pid, p.job)
	}
	return nil
}

// shook reports whether the handshake line came.
func (p *process) shook() bool {
	select {
	case <-p.seen:
		return p.shake != nil
	default:
		return false
	}
}

// killed reports whether it was Kill that ended the process. It must have ended.
func (p *process) killed() bool {
	p.kill.Lock()
	defer p.kill.Unlock()
	return p.aborted && p.err.Error() == "signal: killed"
}

// terminate asks the process to end.
func (p *process) terminate() {
	p.kill.Lock()
	defer p.kill.Unlock()
	if p.running && !p.gone {
		terminateGroup(p.pid)
	}
}

// PluginToHost accepts a socket in the private folder, or where there are none, one on loopback.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	if err := checkAddress(network, address, p.dir); err != nil {
		return "", "", err
	}
	return network, address, nil
}

// HostToPlugin changes nothing.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

func checkAddress(network, address, dir string) error {
	switch {
	case network == "unix" && dir != "":
		inside, err := filepath.Rel(dir, address)
		if err != nil || !filepath.IsLocal(inside) {
			return fmt.Errorf("%w: the plugin's socket %q is not in the folder that it was given (PLUGIN_UNIX_SOCKET_DIR)",
				fault.ErrPermission, clean(address))
		}
		return nil
	case network == "tcp" && runtime.GOOS == "windows":
		return loopback(address)
	}
	return fmt.Errorf("%w: the plugin listens on %q, want a unix socket in PLUGIN_UNIX_SOCKET_DIR",
		fault.ErrUnsupported, clean(network))
}

// exitError says how a process ended.
func exitError(cmd *exec.Cmd, err error) error {
	if err != nil {
		return err
	}
	if s := cmd.ProcessState; s != nil && !s.Success() {
		return errors.New(s.String())
	}
	return errors.New("exit status 0")
}
