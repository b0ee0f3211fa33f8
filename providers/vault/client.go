package vault

import (
	"context"
	"sync"

	"github.com/hashicorp/vault/api"
)

// A Client is one login to one Vault, shared by the providers made from it. It is safe for concurrent use.
// It starts no goroutine of its own: it logs in and renews its token in the course of the requests that
// need it.
type Client struct {
	cfg  Config
	auth login

	once sync.Once
	base *api.Client
	tr   *watchful
	err  error // why base could not be made

	closing context.Context // ends with Close; bounds what no caller's context bounds
	close   context.CancelFunc
}

// New makes a client. It neither connects nor reads a file; Validate says what is wrong with cfg, as do the
// first requests.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg.withDefaults()}
	c.closing, c.close = context.WithCancel(context.Background())
	c.auth.client = c
	c.auth.turn = make(chan struct{}, 1)
	return c
}

// Validate checks the configuration without contacting Vault. Its error wraps ErrConfig and names every
// field that is wrong.
func (c *Client) Validate() error {
	if err := c.cfg.validate(); err != nil {
		return prefix(err)
	}
	return nil
}

// Close gives up signatures that are under way and closes idle connections. Requests after it fail with
// ErrClosed. The token is left to expire: a policy need not allow its revocation. Close is idempotent.
func (c *Client) Close() error {
	c.close()
	c.once.Do(func() {})
	if c.tr != nil {
		c.tr.closeIdle()
	}
	return nil
}

// vault returns the official client without a token, made at the first call.
func (c *Client) vault() (*api.Client, error) {
	c.once.Do(func() { c.base, c.tr, c.err = newBase(c.cfg) })
	switch {
	case c.closing.Err() != nil:
		return nil, errClosed
	case c.err != nil:
		return nil, c.err
	}
	return c.base, nil
}
