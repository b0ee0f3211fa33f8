package sdk

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// SystemRoots is a TrustProvider with the roots of the operating system: the public web's, and what an administrator
// added. Any of some hundred organisations can then vouch for a peer. Say it to mean it:
//
//	sdk.Builder{Trust: sdk.SystemRoots{}, …}
//
// Where they come from:
//
//   - Linux, the BSDs, Solaris, illumos and AIX: the files and folders that crypto/x509 knows. SSL_CERT_FILE and
//     SSL_CERT_DIR are not read.
//   - macOS: what the system ships with, by /usr/bin/security. Changes that users or administrators made to
//     trust settings are not seen; a providers/file Trust is the way to say more.
//   - Windows: the ROOT store, without what is in the Disallowed store. Windows adds well-known roots to the store as
//     they are first needed, so that it may list fewer than the system would trust.
//   - Elsewhere it is ErrUnsupported.
//
// A system without roots, such as an empty container image, is ErrNotFound. The roots are read again every hour.
type SystemRoots struct{}

var _ TrustProvider = SystemRoots{}

const systemRefresh = time.Hour

// TrustBundle reads the roots. There are no CRLs among them.
func (SystemRoots) TrustBundle(ctx context.Context) (*TrustBundle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found, err := systemRoots(ctx)
	if err != nil {
		return nil, fmt.Errorf("sdk: system roots: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("sdk: system roots: the operating system has none: %w; install its package of CA certificates (often ca-certificates), or give the roots in files", ErrNotFound)
	}
	return &TrustBundle{Roots: found, RefreshAfter: systemRefresh}, nil
}

// rootSet collects CA certificates, each once. What does not parse, or is no CA's, is left out: nobody chose the
// contents of the system's store one by one.
type rootSet struct {
	roots []*x509.Certificate
	seen  map[string]bool
}

func (s *rootSet) addPEM(data []byte) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return
		}
		if block.Type == "CERTIFICATE" && len(block.Headers) == 0 {
			s.addDER(block.Bytes)
		}
	}
}

func (s *rootSet) addDER(der []byte) {
	if s.seen[string(der)] {
		return
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[string(der)] = true
	c, err := x509.ParseCertificate(bytes.Clone(der))
	if err == nil && c.BasicConstraintsValid && c.IsCA && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0) {
		s.roots = append(s.roots, c)
	}
}
