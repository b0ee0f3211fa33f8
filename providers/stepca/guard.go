package stepca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/smallstep/certificates/ca"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	maxAnswer  = 16 << 20 // bytes of a body that is read at all; a CRL is the largest
	maxMessage = 512      // bytes of the CA's own words that are kept
	idleFor    = 30 * time.Second
)

// transport makes an http.Transport that trusts roots and, where cert is given, shows it.
func (c *Client) transport(roots *x509.CertPool, cert *tls.Certificate) *http.Transport {
	t := &http.Transport{
		Proxy:                  c.cfg.Proxy,
		DialContext:            c.cfg.Dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Time: c.now},
		TLSHandshakeTimeout:    c.cfg.Timeout,
		ResponseHeaderTimeout:  c.cfg.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        idleFor,
		MaxIdleConnsPerHost:    1,
	}
	if t.DialContext == nil {
		t.DialContext = (&net.Dialer{Timeout: c.cfg.Timeout}).DialContext
	}
	if cert != nil {
		// Unconditional: a static certificate would silently not be sent when its issuer is not in the server's list.
		t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		t.DisableKeepAlives = true
	}
	return t
}

// A guard is the http.RoundTripper under everything that is sent to the CA. It keeps requests on the CA's host, answers
// inside bounds, and turns every answer that is no success into a *statusError.
type guard struct {
	c        *Client
	next     http.RoundTripper
	statuses bool // hand on answers that are no success: the caller reads them
}

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || req.URL.Host != g.c.url.Host {
		return nil, fmt.Errorf("%w: refusing to follow the CA to %s://%s; it must give addresses under URL (`dnsNames` in its ca.json)",
			fault.ErrMaterial, req.URL.Scheme, req.URL.Host)
	}
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", "federation-stepca/1")
	sent := g.c.now()
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	g.c.noteClock(resp, sent)
	resp.Body = limited{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	if resp.StatusCode < 300 || g.statuses {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, &statusError{
		path: req.URL.Path, code: resp.StatusCode, message: message(resp.Body), retryAfter: retryAfter(resp.Header, g.c.now()),
	}
}

// client is the module's client over t, with every one of its ambient sources switched off: an empty certificate
// replaces the machine's default identity, and a transport replaces the default roots.
func (g guard) client() (*ca.Client, error) {
	cl, err := ca.NewClient(g.c.url.String(), ca.WithCertificate(tls.Certificate{}), ca.WithTransport(g), ca.WithTimeout(g.c.cfg.Timeout))
	if err != nil {
		return nil, fmt.Errorf("%w: URL: %w", fault.ErrConfig, err)
	}
	return cl, nil
}

// noteClock compares the CA's clock, to the second, with ours at the middle of the exchange.
func (c *Client) noteClock(resp *http.Response, sent time.Time) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return
	}
	now := c.now()
	c.skew.Store(int64(date.Add(500 * time.Millisecond).Sub(sent.Add(now.Sub(sent) / 2))))
}

// caNow is the time by the CA's clock, as far as its last answer tells: it gives whole seconds. Where the clocks agree to
// within them it is ours. It errs towards the future, in which the CA is lenient; a token from before its own start it
// refuses.
func (c *Client) caNow() time.Time {
	skew := time.Duration(c.skew.Load())
	if skew.Abs() < 2*time.Second {
		return c.now()
	}
	return c.now().Add(skew + time.Second)
}

type limited struct {
	io.Reader
	io.Closer
}

// message takes the CA's own words from an error document, printable and short.
func message(body io.Reader) string {
	raw, _ := io.ReadAll(io.LimitReader(body, 64<<10))
	var doc struct {
		Message string `json:"message"`
		Detail  string `json:"detail"` // ACME problem documents, RFC 8555 §6.7
	}
	if json.Unmarshal(raw, &doc) != nil {
		return ""
	}
	s := doc.Message
	if s == "" {
		s = doc.Detail
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	return s
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3), at most an hour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	d := time.Duration(0)
	if s, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(s, 3600)) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}
