package plugin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Config says which plugin to start and how far it is trusted. Path and one of SHA256, Files and Unpinned
// are required, or Attach alone.
type Config struct {
	// Path is the executable, or the interpreter of a plugin in a scripting language. It must be
	// absolute: nothing is searched for.
	Path string
	// Args are its arguments.
	Args []string

	// SHA256 is the hexadecimal digest of the file at Path. What was hashed is what runs: on Linux a
	// sealed copy in memory, elsewhere a copy in a private folder.
	SHA256 string
	// Files pins a plugin of several files, such as a script and its modules: the path of each, relative
	// to Dir, and its hexadecimal SHA-256. They are verified, copied into a private folder, and the plugin
	// runs there, so that an argument names the copy ("plugin.py"). The folder holds nothing else.
	// ReadManifest reads Files from the output of sha256sum. With Files, SHA256 may be empty: then the
	// interpreter is not pinned.
	Files map[string]string
	// Dir is the folder that Files are in. It must be absolute.
	Dir string
	// Unpinned starts whatever is at Path. It is for development.
	Unpinned bool

	// Env is the whole environment: "NAME=value", or "NAME" for the host's value of NAME. Default empty.
	Env []string

	// Settings and Secrets configure the plugin. Secrets travel on the encrypted socket only.
	Settings map[string]string
	Secrets  map[string]Secret

	// InstanceID names this use of the plugin towards it. Default: random for each Open.
	InstanceID string

	// TempDir is where the private folder for the socket is made. It must be absolute. Default: the system's folder for
	// temporary files, or a shorter one where a socket's path would be too long.
	TempDir string

	// Limits bound what the plugin may take. Zero fields are defaults.
	Limits Limits

	// Attach connects to a provider that runs already, in a debugger for instance (Server.Debug), instead
	// of starting one: the text that Debug wrote. Only loopback addresses are accepted. Everything that
	// starts, pins and restarts a process is without effect then.
	Attach string

	// Logger gets the plugin's log and what happens to it. Nil is silent.
	Logger hclog.Logger
	// OnEvent is called for every Event, one at a time, in order. It must not block for long and must not
	// call Close. Nil ignores them.
	OnEvent func(Event)
}

// Format prints c without the text of Attach. In a field that is not exported fmt prints it: it calls no methods there.
func (c Config) Format(f fmt.State, verb rune) {
	type plain Config
	if c.Attach != "" {
		c.Attach = hidden
	}
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}

// LogValue makes log/slog print what Format does.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", c)) }

// Limits bound what a plugin may take. A zero field means its default.
type Limits struct {
	Start     time.Duration // from the start of the process to its answer to Configure; default 10 s
	Call      time.Duration // one call for material; default 30 s
	Sign      time.Duration // one signature for a caller that has no deadline (crypto.Signer); default 5 s
	Stop      time.Duration // from the request to stop to the kill; default 2 s
	Heartbeat time.Duration // between two health checks; default 5 s
	Hang      time.Duration // an unanswered health check for this long is a hang; default 5 s

	// The first process that ends after half a second of service is replaced at once. One that ends sooner, does
	// not start, or is not the first, is replaced after a wait of random length: up to MinBackoff, then up to
	// twice as long each time. Where each has served for half a second and answered a call, the wait grows to
	// twice MinBackoff only. A process that serves for MaxBackoff ends the series, and so does Replace.
	MinBackoff time.Duration // default 100 ms
	MaxBackoff time.Duration // before any restart, at most; default 30 s

	Message int // largest message either way, in bytes; default 16 MiB
	Line    int // longest line of the plugin's log; the rest of it is dropped; default 16 KiB
	Lines   int // lines of log in a second, beyond which they are counted and dropped; default 500

	// Files and Memory limit the process where the platform can: open descriptors, and address space in
	// bytes. Default: what the host has. (Linux)
	Files  uint64
	Memory uint64
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&l.Start, 10 * time.Second},
		{&l.Call, 30 * time.Second},
		{&l.Sign, 5 * time.Second},
		{&l.Stop, 2 * time.Second},
		{&l.Heartbeat, 5 * time.Second},
		{&l.Hang, 5 * time.Second},
		{&l.MinBackoff, 100 * time.Millisecond},
		{&l.MaxBackoff, 30 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if l.Message <= 0 {
		l.Message = 16 << 20
	}
	if l.Line <= 0 {
		l.Line = 16 << 10
	}
	if l.Lines <= 0 {
		l.Lines = 500
	}
	return l
}

// validate reports everything that is wrong with c.
func (c *Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fault.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	if c.Attach != "" {
		if c.Path != "" {
			bad("Attach", "set together with Path; name one of them")
		}
		return errors.Join(errs...)
	}
	switch {
	case c.Path == "":
		bad("Path", "empty; name the plugin's executable")
	case !filepath.IsAbs(c.Path):
		bad("Path", "%q is not absolute; nothing is searched for", c.Path)
	}
	pins := 0
	if c.SHA256 != "" {
		pins++
		if !isDigest(c.SHA256) {
			bad("SHA256", "%q is not 64 hexadecimal digits", c.SHA256)
		}
	}
	if len(c.Files) > 0 {
		pins++
		if !filepath.IsAbs(c.Dir) {
			bad("Dir", "%q is not absolute; name the folder that Files are in", c.Dir)
		}
		for name, digest := range c.Files {
			if !filepath.IsLocal(name) {
				bad("Files", "%q does not stay in Dir", name)
			}
			if !isDigest(digest) {
				bad("Files", "the digest of %q is not 64 hexadecimal digits", name)
			}
		}
	} else if c.Dir != "" {
		bad("Dir", "set without Files; it is the folder that Files are in")
	}
	switch {
	case pins == 0 && !c.Unpinned:
		bad("SHA256", "empty; pin the plugin (sha256sum %s), or set Unpinned in development", c.Path)
	case pins > 0 && c.Unpinned:
		bad("Unpinned", "set together with a digest; choose one")
	}
	for _, a := range c.Args {
		if strings.ContainsRune(a, 0) {
			bad("Args", "%q has a NUL, which no argument can have", a)
		}
	}
	if c.TempDir != "" && !filepath.IsAbs(c.TempDir) {
		bad("TempDir", "%q is not absolute; the plugin runs in another folder", c.TempDir)
	}
	if err := sendable(c.Settings, c.Secrets); err != nil {
		errs = append(errs, err)
	}
	if !utf8.ValidString(c.InstanceID) {
		bad("InstanceID", "%q is not UTF-8", c.InstanceID)
	}
	for _, e := range c.Env {
		name, _, _ := strings.Cut(e, "=")
		if name == "" || strings.HasPrefix(name, "PLUGIN_") || name == cookieKey || strings.ContainsRune(e, 0) {
			bad("Env", "%q is not a name that can be passed on", name)
		}
	}
	return errors.Join(errs...)
}

// sendable reports a setting that cannot be sent: a plugin in another language could not read it.
func sendable(settings map[string]string, secrets map[string]Secret) error {
	for name, value := range settings {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return &fault.ConfigError{Field: "Settings", Err: fmt.Errorf("%q is not UTF-8; settings are text, secrets may be anything", name)}
		}
	}
	for name := range secrets {
		if !utf8.ValidString(name) {
			return &fault.ConfigError{Field: "Secrets", Err: fmt.Errorf("the name %q is not UTF-8", name)}
		}
	}
	return nil
}

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

func (c *Config) settings(revision uint64) Settings {
	return Settings{Values: c.Settings, Secrets: c.Secrets, Revision: revision, InstanceID: c.InstanceID}.clone()
}
