package sdk

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

func systemRoots(ctx context.Context) ([]*x509.Certificate, error) {
	banned := map[string]bool{}
	if err := eachInStore(ctx, "Disallowed", func(der []byte) { banned[string(der)] = true }); err != nil {
		return nil, err
	}
	var set rootSet
	err := eachInStore(ctx, "ROOT", func(der []byte) {
		if !banned[string(der)] {
			set.addDER(der)
		}
	})
	return set.roots, err
}

// eachInStore calls f with a copy of each certificate of a system store.
func eachInStore(ctx context.Context, name string, f func(der []byte)) error {
	text, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return fmt.Errorf("store %s: %w: %w", name, err, ErrUnavailable)
	}
	store, err := windows.CertOpenSystemStore(0, text)
	if err != nil {
		sentinel := ErrUnavailable
		if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			sentinel = ErrPermission
		}
		return fmt.Errorf("store %s: %w: %w", name, err, sentinel)
	}
	defer func() { _ = windows.CertCloseStore(store, 0) }()
	var cert *windows.CertContext
	for {
		cert, err = windows.CertEnumCertificatesInStore(store, cert) // frees the one before
		if cert == nil {
			if err == nil || errors.Is(err, windows.Errno(windows.CRYPT_E_NOT_FOUND)) {
				return nil
			}
			return fmt.Errorf("store %s: %w: %w", name, err, ErrUnavailable)
		}
		if err := ctx.Err(); err != nil {
			_ = windows.CertFreeCertificateContext(cert)
			return err
		}
		f(bytes.Clone(unsafe.Slice(cert.EncodedCert, cert.Length)))
	}
}
