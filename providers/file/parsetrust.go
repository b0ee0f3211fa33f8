package file

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/sdk"
)

// hashed reports a name that openssl rehash gives: eight hexadecimal digits, a point, an r before CRLs, and a
// number. A regular expression would add a tenth to what the library weighs.
func hashed(name string) (isCRL, ok bool) {
	hash, number, found := strings.Cut(name, ".")
	number, isCRL = strings.CutPrefix(number, "r")
	if !found || len(hash) != 8 || strings.Trim(hash, "0123456789abcdef") != "" || number == "" || strings.Trim(number, "0123456789") != "" {
		return false, false
	}
	return isCRL, true
}

func isTrustName(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".pem", ".crt", ".cer", ".der", ".crl":
		return true
	}
	_, ok := hashed(name)
	return ok
}

func isCRLName(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".crl", ".pem", ".der":
		return true
	}
	isCRL, _ := hashed(name)
	return isCRL
}

// parseTrust makes certificates and CRLs of the files. Copies of the same certificate count once.
func parseTrust(blobs []blob, logger hclog.Logger) (*trustFiles, error) {
	f := &trustFiles{where: blobs[0].path}
	seen := map[string]bool{}
	folderHas := map[int]bool{} // by input
	var passed []string         // files without a CA certificate
	var crlPaths []string       // of f.crls
	for _, b := range blobs {
		certs, crls, err := parseTrustFile(b)
		if err != nil {
			return nil, err
		}
		if b.kind == kindCRL && len(certs) > 0 {
			return nil, bad(sdk.ErrMaterial, b.kind, b.path, "holds a certificate, want revocation lists (-----BEGIN X509 CRL-----) alone")
		}
		_, rehashed := hashed(filepath.Base(b.path))
		if b.kind == kindCA && len(certs) == 0 && !strings.EqualFold(filepath.Ext(b.path), ".crl") && !rehashed {
			passed = append(passed, b.path)
		}
		for _, c := range certs {
			if !isCA(c) {
				warn(logger, "left out a certificate that is no CA's", "path", b.path, "subject", c.Subject.String())
				continue
			}
			folderHas[b.input] = true
			if !seen[string(c.Raw)] {
				seen[string(c.Raw)] = true
				f.roots = append(f.roots, c)
			}
		}
		for _, l := range crls {
			if !seen[string(l.Raw)] {
				seen[string(l.Raw)] = true
				f.crls = append(f.crls, l)
				crlPaths = append(crlPaths, b.path)
			}
		}
	}
	for _, b := range blobs {
		if b.kind == kindCA && !folderHas[b.input] {
			if len(passed) > 0 {
				return nil, bad(sdk.ErrMaterial, kindCA, passed[0], "holds revocation lists and no CA certificate; name it in CRLs instead")
			}
			return nil, bad(sdk.ErrMaterial, kindCA, b.path, "none of its certificates is a CA's (basic constraints, key usage); put the certificate of the CA there, not what it issued")
		}
	}
	return f, f.checkCRLs(crlPaths)
}

// checkCRLs refuses a CRL that bears the name of a CA in the bundle and no signature of it. One of an intermediate
// cannot be checked before its certificate is seen.
func (f *trustFiles) checkCRLs(paths []string) error {
	for i, l := range f.crls {
		var err error
		for _, c := range f.roots {
			if !bytes.Equal(c.RawSubject, l.RawIssuer) {
				continue
			}
			if err = l.CheckSignatureFrom(c); err == nil {
				break
			}
		}
		if err != nil {
			return bad(sdk.ErrMaterial, kindCRL, paths[i], "a revocation list in the name of %q is not signed by that CA: %v; fetch it again", l.Issuer.String(), err)
		}
	}
	return nil
}

// isCA follows RFC 5280, sections 4.2.1.3 and 4.2.1.9.
func isCA(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0)
}

func parseTrustFile(b blob) ([]*x509.Certificate, []*x509.RevocationList, error) {
	if !isPEM(b.data) && isDER(b.data) {
		return parseTrustDER(b)
	}
	all, err := blocks(b.data)
	if err != nil {
		cure := "want CA certificates in PEM"
		if b.kind == kindCRL {
			cure = "want revocation lists in PEM or DER"
		}
		return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "%v; %s", err, cure)
	}
	var certs []*x509.Certificate
	var crls []*x509.RevocationList
	for i, block := range all {
		switch {
		case isPrivateKeyType(block.Type):
			return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "holds a private key, which does not belong among what is public; remove the key from it")
		case block.Type == "CERTIFICATE" || block.Type == "X509 CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "certificate in PEM block %d: %v; export it again", i+1, err)
			}
			certs = append(certs, c)
		case block.Type == "X509 CRL":
			l, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "revocation list in PEM block %d: %v; fetch it again", i+1, err)
			}
			crls = append(crls, l)
		case block.Type == "TRUSTED CERTIFICATE":
			return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "holds a certificate in OpenSSL's own form (TRUSTED CERTIFICATE); rewrite it with openssl x509 -in FILE -out FILE.pem")
		default:
			return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "PEM block %d is a %s, want CERTIFICATE or X509 CRL; remove it", i+1, label(block.Type))
		}
	}
	return certs, crls, nil
}

func parseTrustDER(b blob) ([]*x509.Certificate, []*x509.RevocationList, error) {
	c, err := x509.ParseCertificate(b.data)
	if err == nil {
		return []*x509.Certificate{c}, nil, nil
	}
	if l, err := x509.ParseRevocationList(b.data); err == nil {
		return nil, []*x509.RevocationList{l}, nil
	}
	if holdsKey(b.data) {
		return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "holds a private key, which does not belong among what is public; put certificates there")
	}
	return nil, nil, bad(sdk.ErrMaterial, b.kind, b.path, "is DER, but neither one whole certificate nor one whole revocation list (%v); convert it to PEM", err)
}

func warn(logger hclog.Logger, message string, args ...any) {
	if logger != nil {
		logger.Warn(fmt.Sprintf("file: %s", message), args...)
	}
}
