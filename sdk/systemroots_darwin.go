//go:build darwin && !ios

package sdk

import (
	"context"
	"crypto/x509"
	"fmt"
	"os/exec"
)

const appleRoots = "/System/Library/Keychains/SystemRootCertificates.keychain"

func systemRoots(ctx context.Context) ([]*x509.Certificate, error) {
	out, err := exec.CommandContext(ctx, "/usr/bin/security", "find-certificate", "-a", "-p", appleRoots).Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("/usr/bin/security: %w: %w", err, ErrUnavailable)
	}
	var set rootSet
	set.addPEM(out)
	return set.roots, nil
}
