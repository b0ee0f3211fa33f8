package stepca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	stateVersion = 1
	maxState     = 1 << 20 // bytes
)

// A stateFile is what one file of the StateDir holds.
type stateFile struct {
	Version     int         `json:"version"`
	Fingerprint string      `json:"fingerprint"` // of the root that was pinned when it was written
	Roots       string      `json:"roots,omitempty"`
	CRL         string      `json:"crl,omitempty"`
	Certs       []stateCert `json:"certificates,omitempty"`
}

// A stateCert is a certificate chain and its key, PEM.
type stateCert struct {
	Chain string `json:"chain"`
	Key   string `json:"key,omitempty"` // PKCS #8; absent where the key is not ours to keep
	// From is when a signing key starts to sign, in Unix seconds.
	From int64 `json:"from,omitempty"`
}

// readState reads a state file. No file is neither state nor error.
func readState(path string) (*stateFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxState {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", fault.ErrMaterial, path, maxState)
	}
	return parseState(raw, path)
}

// parseState reads the content of a state file. Its errors hold nothing of it: it has a key.
func parseState(raw []byte, path string) (*stateFile, error) {
	var s stateFile
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%w: %s is not a whole state file", fault.ErrMaterial, path)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%w: %s is state of version %d, this is %d", fault.ErrMaterial, path, s.Version, stateVersion)
	}
	return &s, nil
}

// writeState replaces a state file: the new one is complete on disk before it takes the name, so that a crash leaves the
// old one or the new one.
func (c *Client) writeState(path string, s stateFile) error {
	if path == "" {
		return nil
	}
	s.Version, s.Fingerprint = stateVersion, c.fingerprintHex()
	raw, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(raw)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // not every file system can
		d.Close()
	}
	return nil
}

// setAside keeps a state file that cannot be used out of the way, for whoever wants to know why.
func (c *Client) setAside(path string, cause error) {
	bad := path + ".bad"
	if err := os.Rename(path, bad); err != nil {
		bad = path
	}
	c.log.Warn("stored state cannot be used; carrying on without it", "file", path, "kept_as", bad, "error", cause)
}

// loadRoots gives the roots that were stored, as long as they grew from the root that is pinned.
func (c *Client) loadRoots() ([]*x509.Certificate, error) {
	path := c.statePath("roots")
	s, err := readState(path)
	if s == nil || err != nil {
		return nil, err
	}
	if s.Fingerprint != c.fingerprintHex() {
		return nil, fmt.Errorf("%w: %s grew from the root %s, pinned is %s", fault.ErrMaterial, path, s.Fingerprint, c.fingerprintHex())
	}
	roots, err := parsePEM(s.Roots)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return roots, checkRoots(roots)
}

func (c *Client) saveRoots(roots []*x509.Certificate) error {
	path := c.statePath("roots")
	if path == "" {
		return nil
	}
	if old, err := c.loadRoots(); err == nil && sameCerts(old, roots) {
		return nil
	}
	return c.writeState(path, stateFile{Roots: toPEM(roots)})
}

// loadCRL gives the revocation list that was stored; none is no error.
func (c *Client) loadCRL() (*x509.RevocationList, error) {
	s, err := readState(c.statePath("crl"))
	if s == nil || err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(s.CRL))
	if block == nil || s.Fingerprint != c.fingerprintHex() {
		return nil, fmt.Errorf("%w: %s holds no revocation list of this CA", fault.ErrMaterial, c.statePath("crl"))
	}
	return x509.ParseRevocationList(block.Bytes)
}

func (c *Client) saveCRL(crl *x509.RevocationList) error {
	return c.writeState(c.statePath("crl"), stateFile{CRL: string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl.Raw}))})
}

// encode makes state of a certificate; withKey says whether the key is ours to keep.
func (h *held) encode(withKey bool) (stateCert, error) {
	s := stateCert{Chain: toPEM(h.chain)}
	if withKey {
		der, err := x509.MarshalPKCS8PrivateKey(h.key)
		if err != nil {
			return s, err
		}
		s.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	return s, nil
}

// decode reads a certificate from state. key is the key where it is not kept there. The error holds nothing of the file.
func (s stateCert) decode(key crypto.Signer) (*held, error) {
	chain, err := parsePEM(s.Chain)
	if err != nil {
		return nil, err
	}
	if len(chain) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d certificates", fault.ErrMaterial, len(chain))
	}
	if key == nil {
		block, _ := pem.Decode([]byte(s.Key))
		if block == nil {
			return nil, fmt.Errorf("%w: there is no key", fault.ErrMaterial)
		}
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		signer, ok := k.(crypto.Signer)
		if err != nil || !ok {
			return nil, fmt.Errorf("%w: the key does not parse", fault.ErrMaterial)
		}
		key = signer
	}
	return &held{key: key, chain: chain}, nil
}

func toPEM(certs []*x509.Certificate) string {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

func parsePEM(s string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := []byte(s); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: a certificate does not parse", fault.ErrMaterial)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: there is no certificate", fault.ErrMaterial)
	}
	return slices.Clip(certs), nil
}
