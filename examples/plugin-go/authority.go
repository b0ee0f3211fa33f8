package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

// patience is for one request.
const patience = 10 * time.Second

// An authority is the client of the small CA. It trusts what has the pinned root, and nothing else.
type authority struct {
	url, sha256, token string // the digest in lower case

	mu     sync.Mutex
	known  *x509.Certificate
	client *http.Client
}

// root fetches the root, once, and holds it against the pin: what brought it need not be trusted then.
func (a *authority) root(ctx context.Context) (*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known != nil {
		return a.known, nil
	}
	blind := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer blind.CloseIdleConnections()
	der, err := do(ctx, blind, http.MethodGet, a.url+"/root", "", nil)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(der); hex.EncodeToString(sum[:]) != a.sha256 {
		return nil, fmt.Errorf("%w: the authority's root has the SHA-256 %x, not root-sha256", sdk.ErrMaterial, sum)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: the authority's root: %w", sdk.ErrMaterial, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	a.known = root
	a.client = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}}}
	return root, nil
}

// enrol has a certificate issued.
func (a *authority) enrol(ctx context.Context, key *ecdsa.PrivateKey, name string) (*tls.Certificate, error) {
	if _, err := a.root(ctx); err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		return nil, fmt.Errorf("%w: signing request: %w", sdk.ErrConfig, err)
	}
	body, err := json.Marshal(map[string][]byte{"csr": csr})
	if err != nil {
		return nil, err
	}
	answer, err := do(ctx, a.client, http.MethodPost, a.url+"/enrol", a.token, body)
	if err != nil {
		return nil, err
	}
	var out struct{ Chain [][]byte }
	if err := json.Unmarshal(answer, &out); err != nil || len(out.Chain) == 0 {
		return nil, fmt.Errorf("%w: the authority's answer is no chain", sdk.ErrMaterial)
	}
	leaf, err := x509.ParseCertificate(out.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("%w: the authority's leaf: %w", sdk.ErrMaterial, err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("%w: the authority's chain is for another key", sdk.ErrMaterial)
	}
	return &tls.Certificate{Certificate: out.Chain, PrivateKey: key, Leaf: leaf}, nil
}

// do makes one request, and a sentinel of its failure.
func do(ctx context.Context, c *http.Client, method, url, token string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, &sdk.ConfigError{Field: "url", Err: err}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", sdk.ErrUnavailable, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", sdk.ErrUnavailable, err)
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%w: the authority does not take the token", sdk.ErrPermission)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: the authority answers %s", sdk.ErrUnavailable, resp.Status)
	}
	return answer, nil
}

func (a *authority) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	return nil
}
