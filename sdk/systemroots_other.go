//go:build (!unix && !windows) || ios

package sdk

import (
	"context"
	"crypto/x509"
	"fmt"
	"runtime"
)

func systemRoots(context.Context) ([]*x509.Certificate, error) {
	return nil, fmt.Errorf("they cannot be listed on %s: %w; give the roots in files", runtime.GOOS, ErrUnsupported)
}
