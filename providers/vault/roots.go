package vault

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// transports is the HTTP transport of today: another one whenever the file with the roots for Vault's own
// certificate has changed. A file that became unreadable leaves the last one in place.
type transports struct {
	rootsFile string // "": current never changes

	mu      sync.Mutex
	stamp   fileStamp
	current *http.Transport
}

func (t *transports) get() (*http.Transport, error) {
	if t.rootsFile == "" {
		return t.current, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp, err := stampOf(t.rootsFile)
	if err == nil && stamp == t.stamp {
		return t.current, nil
	}
	certs, err := readCertificates(t.rootsFile)
	switch {
	case err == nil:
		next := t.current.Clone()
		next.TLSClientConfig.RootCAs = poolOf(certs)
		t.current.CloseIdleConnections()
		t.current, t.stamp = next, stamp
	case t.stamp == fileStamp{}:
		return nil, &fault.ConfigError{Field: "RootsFile", Err: err}
	}
	return t.current, nil
}

func (t *transports) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.CloseIdleConnections()
}

// poolOf returns nil, which means the system's roots, for no certificates.
func poolOf(certs []*x509.Certificate) *x509.CertPool {
	if len(certs) == 0 {
		return nil
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return certs, nil
}

// parseCertificates reads every CERTIFICATE block of data and ignores other blocks.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return certs, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
}

// A fileStamp tells whether a file is still the one that was read.
type fileStamp struct {
	mod  time.Time
	size int64
}

func stampOf(path string) (fileStamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{info.ModTime(), info.Size()}, nil
}
