package stepca

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Client is one step-ca. It holds what its providers share: the CA's roots and a connection. It is safe for concurrent
// use.
type Client struct {
	cfg         Config
	url         *url.URL
	fingerprint [sha256.Size]byte
	err         error // what is wrong with cfg
	log         hclog.Logger
	now         func() time.Time

	skew   atomic.Int64 // the CA's clock minus ours in nanoseconds, as of its last answer
	closed atomic.Bool

	mu      sync.Mutex
	anchors *anchors // nil: not contacted yet
	names   map[string]bool

	boot chan struct{} // held while the first contact is made
}

// New makes a client without any input or output: a wrong Config is reported by Validate and by every pull, as errors
// that wrap sdk.ErrConfig. Close releases its connections.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, log: cfg.Logger, now: time.Now, names: map[string]bool{}, boot: make(chan struct{}, 1)}
	c.url, c.fingerprint, c.err = cfg.validate()
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	if c.cfg.Timeout <= 0 {
		c.cfg.Timeout = DefaultTimeout
	}
	return c
}

// Validate reports every problem of the configuration, without contacting the CA. Each wraps sdk.ErrConfig.
func (c *Client) Validate() error { return wrap(c.err) }

// Close closes the client's idle connections; pulls return sdk.ErrClosed from then on. It closes nothing that a provider
// has handed out. It may be called twice.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.anchors != nil {
		c.anchors.transport.CloseIdleConnections()
	}
	return nil
}

// ready reports why the client cannot be used at all.
func (c *Client) ready(ctx context.Context) error {
	if c.closed.Load() {
		return fault.ErrClosed
	}
	return errors.Join(c.err, ctx.Err())
}

// fingerprintHex is the pinned fingerprint as the CA's endpoint wants it.
func (c *Client) fingerprintHex() string { return hex.EncodeToString(c.fingerprint[:]) }

// statePath is the file for one kind of state; empty without a StateDir.
func (c *Client) statePath(name string) string {
	if c.cfg.StateDir == "" {
		return ""
	}
	return filepath.Join(c.cfg.StateDir, name+".json")
}
