package vault

import (
	"context"
	"fmt"
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
	base *template // without a token
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

// Format prints a placeholder: the value holds the login.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("vault.Client{…}")) }

// Validate checks the configuration without contacting Vault. Its error wraps ErrConfig and names every
// field that is wrong.
func (c *Client) Validate() error {
	if err := c.cfg.validate(); err != nil {
		return prefix(err)
	}
	return nil
}

// Close gives up what is under way and closes every connection. Requests after it fail with
// ErrClosed. The token is left to expire: a policy need not allow its revocation. Close is idempotent.
func (c *Client) Close() error {
	c.close()
	c.once.Do(func() {})
	if c.tr != nil {
		c.tr.close()
	}
	return nil
}

// vault returns the template without a token, made at the first call.
func (c *Client) vault() (*template, error) {
	c.once.Do(func() {
		var base *api.Client
		base, c.tr, c.err = newBase(c.cfg)
		c.base = &template{c: base}
	})
	switch {
	case c.closing.Err() != nil:
		return nil, errClosed
	case c.err != nil:
		return nil, c.err
	}
	return c.base, nil
}

// A template makes official clients. Each request has one of its own, because copying one (WithNamespace) while
// another goroutine uses it is a data race in the official library.
type template struct {
	mu sync.Mutex
	c  *api.Client
}

func (t *template) in(namespace string) *api.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.c.WithNamespace(namespace)
}
