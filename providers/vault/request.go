package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/fault"
)

// A call is one request to Vault.
type call struct {
	what      string              // for errors: "sign", "list the issuers"
	namespace string              // of the mount
	path      string              // without /v1/
	params    map[string][]string // of a read
	body      any                 // nil: a read
	anonymous bool                // send no token
	since     string              // If-Modified-Since; "": none
}

// An answer is what came back with a status below 400.
type answer struct {
	status int
	body   []byte
	date   time.Time // by the server's clock; zero: it did not say
}

// A request is sent with so many tokens, one after the other, while Vault says of each that it is dead. The last is its
// own.
const maxTokens = 4

// do sends a request, with a token unless it is anonymous, and again with another if the token turns out to be
// dead.
func (c *Client) do(ctx context.Context, r call) (*answer, error) {
	op := r.what + " at " + r.path
	if r.namespace != "" {
		op += " in namespace " + r.namespace
	}
	for tokens := 1; ; tokens++ {
		base, err := c.vault()
		if err != nil {
			return nil, err
		}
		s := &session{api: base}
		switch {
		case r.anonymous:
		case tokens == maxTokens:
			s, err = c.auth.own(ctx)
		default:
			s, err = c.auth.session(ctx)
		}
		if err != nil {
			return nil, err
		}
		n := &note{}
		a, err := send(context.WithValue(ctx, noteKey{}, n), s.api, r)
		if err == nil {
			if tokens > 1 {
				c.auth.cured()
			}
			return a, nil
		}
		if c.closing.Err() != nil {
			return nil, errClosed
		}
		e := classify(op, err, n.retryAfter, append(c.auth.secrets(), s.token)...)
		e.anonymous = r.anonymous
		if r.anonymous || e.kind != fault.ErrPermission || tokens == maxTokens {
			return nil, e
		}
		if err := c.auth.refused(ctx, s, e); err != nil {
			if e.status == http.StatusForbidden && c.cfg.Auth != nil && !saysDead(e.msg) {
				e.msg += fmt.Sprintf(" (if the token lives and the mount is right, a policy of the token must allow %q on %s)", r.capability(), r.path)
			}
			return nil, err
		}
	}
}

// capability is what a policy must allow for the request.
func (r call) capability() string {
	if r.body != nil {
		return "update"
	}
	return "read"
}

func send(ctx context.Context, from *template, r call) (*answer, error) {
	v := from.in(r.namespace)
	if r.since != "" {
		v.AddHeader("If-Modified-Since", r.since)
	}
	var resp *api.Response
	var err error
	if r.body == nil {
		resp, err = v.Logical().ReadRawWithDataWithContext(ctx, r.path, r.params)
	} else {
		data, jerr := json.Marshal(r.body)
		if jerr != nil {
			return nil, jerr
		}
		resp, err = v.Logical().WriteRawWithContext(ctx, r.path, data)
	}
	if resp != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified {
		return nil, fmt.Errorf("redirected more than once: %w", fault.ErrUnavailable)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		date = time.Time{}
	}
	return &answer{resp.StatusCode, body, date}, nil
}

// data sends a request and decodes the data field of the answer into out.
func (c *Client) data(ctx context.Context, r call, out any) error {
	a, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	var envelope struct {
		Data json.RawMessage `json:"data"`
	}
	err = json.Unmarshal(a.body, &envelope)
	if err == nil && len(envelope.Data) == 0 {
		err = errors.New("the answer has no data")
	}
	if err == nil {
		err = json.Unmarshal(envelope.Data, out)
	}
	if err != nil {
		// The message must not quote the answer, which may hold a key.
		return &callError{op: r.what + " at " + r.path, msg: "the answer is not what Vault sends", kind: fault.ErrMaterial}
	}
	return nil
}

// refresh is when to pull again, for a pull that renews the token where that is due: after want, or earlier
// where the token needs it.
func (c *Client) refresh(want time.Duration) time.Duration {
	if due := c.auth.due(); due > 0 && due < want {
		return due
	}
	return want
}

// checkName says what is wrong with a name that becomes part of a path.
func checkName(s string, slash bool) error {
	if s == "" {
		return errors.New("is empty")
	}
	for _, part := range strings.Split(s, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%q has an empty, %q or %q part", s, ".", "..")
		}
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		case r == '/' && slash:
		default:
			return fmt.Errorf("%q holds %q: letters, digits, '-', '_' and '.' are possible", s, r)
		}
	}
	return nil
}

func join(parts ...string) string { return path.Join(parts...) }
