package stepca

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/ca"

	"github.com/alphaonedev/federation/internal/fault"
)

// maxCerts bounds a list of certificates that the CA gives.
const maxCerts = 256

// anchors are the roots by which the CA itself is trusted, and a connection under them. It is immutable.
type anchors struct {
	roots     []*x509.Certificate
	transport *http.Transport
	ca        *ca.Client
}

func (c *Client) newAnchors(roots []*x509.Certificate) (*anchors, error) {
	a := &anchors{roots: roots, transport: c.transport(pool(roots), nil)}
	var err error
	a.ca, err = guard{c: c, next: a.transport}.client()
	return a, err
}

// contact returns the anchors, making the first contact if there was none: the pinned root is fetched over a connection
// that nobody vouches for, and its fingerprint makes it trusted.
func (c *Client) contact(ctx context.Context) (*anchors, error) {
	if err := c.ready(ctx); err != nil {
		return nil, err
	}
	if a := c.known(); a != nil {
		return a, nil
	}
	select {
	case c.boot <- struct{}{}:
		defer func() { <-c.boot }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a := c.known(); a != nil {
		return a, nil
	}
	if roots, err := c.loadRoots(); err != nil {
		c.log.Warn("stored roots are not used", "error", err)
	} else if len(roots) > 0 {
		return c.setAnchors(roots)
	}
	root, err := c.pinnedRoot(ctx)
	if err != nil {
		return nil, err
	}
	return c.setAnchors([]*x509.Certificate{root})
}

func (c *Client) known() *anchors {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.anchors
}

func (c *Client) setAnchors(roots []*x509.Certificate) (*anchors, error) {
	a, err := c.newAnchors(roots)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return nil, fault.ErrClosed
	}
	if c.anchors != nil {
		if sameCerts(c.anchors.roots, roots) {
			return c.anchors, nil
		}
		c.anchors.transport.CloseIdleConnections()
	}
	c.anchors = a
	return a, nil
}

// pinnedRoot fetches the root with the configured fingerprint. The connection is not verified, the answer is.
func (c *Client) pinnedRoot(ctx context.Context) (*x509.Certificate, error) {
	t := c.transport(nil, nil)
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} // what is fetched is checked by its hash
	t.DisableKeepAlives = true
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	raw, err := c.get(ctx, guard{c: c, next: t}, "/root/"+c.fingerprintHex())
	var status *statusError
	switch {
	case errors.As(err, &status) && status.code == http.StatusNotFound && status.message != "":
		return nil, fmt.Errorf("%w: the CA at %s has no root with the Fingerprint %s; check both, `step certificate fingerprint "+
			"root_ca.crt` on the CA prints it: %v", fault.ErrConfig, c.url.Host, c.fingerprintHex(), err)
	case errors.As(err, &status) && status.code < 500 && status.code != http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: %s does not answer like a step-ca; check URL: %v", fault.ErrConfig, c.url.Host, err)
	case err != nil:
		return nil, c.exchange(err)
	}
	var answer api.RootResponse
	if err := json.Unmarshal(raw, &answer); err != nil || answer.RootPEM.Certificate == nil {
		return nil, fmt.Errorf("%w: %s does not answer like a step-ca; check URL", fault.ErrConfig, c.url.Host)
	}
	root := answer.RootPEM.Certificate
	if sum := sha256.Sum256(root.Raw); sum != c.fingerprint {
		return nil, fmt.Errorf("%w: %s gave a root with the fingerprint %x where %s was asked for: this is not the CA, or somebody "+
			"stands in between", fault.ErrMaterial, c.url.Host, sum, c.fingerprintHex())
	}
	return root, checkRoots([]*x509.Certificate{root})
}

// get fetches what the module's client has no method for, or none that verifies nothing.
func (c *Client) get(ctx context.Context, rt http.RoundTripper, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url.JoinPath(path).String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// fetchRoots asks the CA for its roots, over a connection that the anchors verify, and makes them the anchors.
func (c *Client) fetchRoots(ctx context.Context) ([]*x509.Certificate, error) {
	var answer *api.RootsResponse
	err := c.call(ctx, func(ctx context.Context, a *anchors) (err error) {
		answer, err = a.ca.RootsWithContext(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	roots, err := certificates(answer.Certificates)
	if err != nil {
		return nil, fmt.Errorf("/roots: %w", err)
	}
	if _, err := c.setAnchors(roots); err != nil {
		return nil, err
	}
	if err := c.saveRoots(roots); err != nil {
		c.log.Warn("the roots could not be stored; a restart will need the CA", "error", err)
	}
	return roots, nil
}

// call runs one exchange under the anchors, within Timeout. When the CA's certificate does not chain to them, the pinned
// root is fetched once more: the anchors may have moved on while the CA still shows a chain to it.
func (c *Client) call(ctx context.Context, f func(context.Context, *anchors) error) error {
	a, err := c.contact(ctx)
	if err != nil {
		return err
	}
	err = c.bounded(ctx, a, f)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		return c.exchange(err)
	}
	root, perr := c.pinnedRoot(ctx)
	if perr != nil || slices.ContainsFunc(a.roots, root.Equal) {
		return c.exchange(err)
	}
	if a, err = c.newAnchors(append([]*x509.Certificate{root}, a.roots...)); err != nil {
		return err
	}
	defer a.transport.CloseIdleConnections()
	return c.exchange(c.bounded(ctx, a, f))
}

func (c *Client) bounded(ctx context.Context, a *anchors, f func(context.Context, *anchors) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return f(ctx, a)
}

// certificates checks a list that the CA gave as roots.
func certificates(list []api.Certificate) ([]*x509.Certificate, error) {
	if len(list) > maxCerts {
		return nil, fmt.Errorf("%w: %d certificates, the limit is %d", fault.ErrMaterial, len(list), maxCerts)
	}
	var certs []*x509.Certificate
	for _, a := range list {
		if a.Certificate == nil {
			return nil, fmt.Errorf("%w: an entry is empty", fault.ErrMaterial)
		}
		if !slices.ContainsFunc(certs, a.Equal) {
			certs = append(certs, a.Certificate)
		}
	}
	return certs, checkRoots(certs)
}

func checkRoots(roots []*x509.Certificate) error {
	if len(roots) == 0 {
		return fmt.Errorf("%w: the CA gives no root certificate", fault.ErrMaterial)
	}
	for _, r := range roots {
		if !r.IsCA || !r.BasicConstraintsValid {
			return fmt.Errorf("%w: %q is not the certificate of a CA", fault.ErrMaterial, r.Subject)
		}
	}
	return nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func sameCerts(a, b []*x509.Certificate) bool {
	return slices.EqualFunc(a, b, func(x, y *x509.Certificate) bool { return bytes.Equal(x.Raw, y.Raw) })
}
