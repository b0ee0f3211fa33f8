//go:build unix && !darwin

package sdk

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxSystemFile bounds one file; bundles have some 250 KB.
const maxSystemFile = 16 << 20

// systemPlaces returns the files of which the first that can be read counts, and the folders that all count.
func systemPlaces() (files, dirs []string) {
	switch runtime.GOOS {
	case "linux", "android":
		files = []string{
			"/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Gentoo, Arch
			"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
			"/etc/ssl/ca-bundle.pem",             // openSUSE
			"/etc/pki/tls/cacert.pem",            // OpenELEC
			"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
			"/etc/ssl/cert.pem", // Alpine
		}
		dirs = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
		if runtime.GOOS == "android" {
			dirs = append(dirs, "/system/etc/security/cacerts", "/data/misc/keychain/certs-added")
		}
	case "solaris", "illumos":
		files = []string{"/etc/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cacert.pem"}
		dirs = []string{"/etc/certs/CA"}
	case "aix":
		files = []string{"/var/ssl/certs/ca-bundle.crt"}
		dirs = []string{"/var/ssl/certs"}
	default: // the BSDs
		files = []string{
			"/usr/local/etc/ssl/cert.pem", "/etc/ssl/cert.pem",
			"/usr/local/share/certs/ca-root-nss.crt", "/etc/openssl/certs/ca-certificates.crt",
		}
		dirs = []string{"/etc/ssl/certs", "/usr/local/share/certs", "/etc/openssl/certs"}
	}
	return files, dirs
}

func systemRoots(ctx context.Context) ([]*x509.Certificate, error) {
	files, dirs := systemPlaces()
	return rootsIn(ctx, files, dirs)
}

// rootsIn reads the first file that can be read, and all files of the folders. An error counts only if no root is
// found.
func rootsIn(ctx context.Context, files, dirs []string) ([]*x509.Certificate, error) {
	var set rootSet
	var failed error
	fail := func(path string, err error) {
		if failed != nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		sentinel := ErrUnavailable
		if errors.Is(err, fs.ErrPermission) {
			sentinel = ErrPermission
		}
		failed = fmt.Errorf("%s: %w: %w", path, err, sentinel)
	}
	for _, path := range files {
		data, err := readBounded(path)
		if err == nil {
			set.addPEM(data)
			break
		}
		fail(path, err)
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			fail(dir, err)
			continue
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			path := filepath.Join(dir, e.Name())
			if e.Type()&fs.ModeSymlink != 0 {
				if target, err := os.Readlink(path); err == nil && filepath.Base(target) == target {
					continue // another name of a file in the same folder
				}
			}
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			data, err := readBounded(path)
			if err != nil {
				fail(path, err)
				continue
			}
			set.addPEM(data)
		}
	}
	if len(set.roots) == 0 {
		return nil, failed
	}
	return set.roots, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSystemFile+1))
	if err == nil && len(data) > maxSystemFile {
		err = fmt.Errorf("has more than %d MiB", maxSystemFile>>20)
	}
	return data, err
}
