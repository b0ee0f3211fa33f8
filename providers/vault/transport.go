package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/fault"
)

// A response larger than this is cut off: a bundle of issuers or a CRL of 100,000 entries fits.
const maxResponse = 16 << 20

// newBase makes the official client with everything set that it would otherwise take from the environment.
func newBase(cfg Config) (*api.Client, *watchful, error) {
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	dial := &dialer{}
	tr := &http.Transport{
		Proxy:       cfg.Proxy,
		DialContext: dial.dial,
		TLSClientConfig: &tls.Config{
			MinVersion:           tls.VersionTLS12,
			ServerName:           cfg.ServerName,
			RootCAs:              poolOf(cfg.Roots),
			GetClientCertificate: cfg.ClientCertificate,
		},
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: cfg.Timeout,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
		// A connection that was lost without a word is given up within 4 s, and the request on it with it: inside the
		// default of KeyOptions.Patience.
		HTTP2: &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: 3 * time.Second},
	}
	address := cfg.Address
	if socket, ok := strings.CutPrefix(address, "unix://"); ok {
		address = "http://localhost"
		dial.socket = socket
	}
	w := &watchful{timeout: cfg.Timeout, dialer: dial, transports: transports{rootsFile: cfg.RootsFile, current: tr}}
	c, err := api.NewClient(&api.Config{
		Address:      address,
		HttpClient:   &http.Client{Transport: w, CheckRedirect: noRedirect},
		MinRetryWait: time.Second, // unused, since MaxRetries is 0: the pull that failed is repeated, not the request
		MaxRetryWait: time.Second,
	})
	if err != nil {
		// The official library parses VAULT_* even when every setting is given, and fails over bad ones.
		return nil, nil, fmt.Errorf("vault's client library cannot be set up (it parses the process's VAULT_* variables; unset the one it names): %v: %w", err, fault.ErrConfig)
	}
	c.ClearToken()
	c.ClearNamespace()
	c.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	return c, w, nil
}

// noRedirect leaves redirects to the official client, which follows one, never from https to http.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// A note carries what the official client drops from a response. It travels in the request's context.
type note struct{ retryAfter time.Duration }

type noteKey struct{}

// watchful bounds a request in time and its answer in size, and notes Retry-After.
type watchful struct {
	transports
	dialer  *dialer
	timeout time.Duration
}

// close ends every connection, those in use and those being made included.
func (w *watchful) close() {
	w.closeIdle()
	w.dialer.close()
}

func (w *watchful) RoundTrip(req *http.Request) (*http.Response, error) {
	tr, err := w.get()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), w.timeout)
	resp, err := tr.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if ctx.Err() != nil && req.Context().Err() == nil {
			tr.CloseIdleConnections() // over HTTP/1.1 they may be lost, too
		}
		cancel()
		return nil, err
	}
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		n.retryAfter = retryAfter(resp.Header.Get("Retry-After"))
	}
	resp.Body = &cappedBody{ReadCloser: resp.Body, left: maxResponse, cancel: cancel}
	return resp, nil
}

// retryAfter reads the header of RFC 9110, section 10.2.3, clamped to an hour.
func retryAfter(s string) time.Duration {
	d := time.Duration(0)
	if n, err := strconv.Atoi(s); err == nil {
		d = time.Duration(min(max(n, 0), 3600)) * time.Second
	} else if t, err := http.ParseTime(s); err == nil {
		d = time.Until(t)
	}
	return min(max(d, 0), time.Hour)
}

var errTooLarge = errors.New("answer is larger than 16 MiB")

type cappedBody struct {
	io.ReadCloser
	left   int64
	cancel context.CancelFunc
}

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *cappedBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}
