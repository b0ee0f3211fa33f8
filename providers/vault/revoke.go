package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A replacedCert waits to be revoked.
type replacedCert struct {
	leaf *x509.Certificate
	due  time.Time
}

const revokeRetry = time.Minute

// revokeReplaced revokes what is due and returns how long until the next is; 0: none waits. The caller holds
// the turn.
func (i *Identity) revokeReplaced(ctx context.Context, now time.Time) time.Duration {
	s := &i.state
	var next time.Time
	s.replaced = slices.DeleteFunc(s.replaced, func(r replacedCert) bool {
		if !now.Before(r.leaf.NotAfter) {
			return true
		}
		at := r.due
		if !now.Before(r.due) {
			err := i.revoke(ctx, r.leaf)
			if err == nil {
				return true
			}
			i.client.cfg.Logger.Warn("a replaced certificate could not be revoked; it will be tried again", "serial", serialOf(r.leaf), "error", err)
			at = now.Add(revokeRetry)
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
		return false
	})
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(now), time.Second)
}

// revoke revokes a certificate of the mount. One that Vault does not store counts as revoked: there is
// nothing to do about it.
func (i *Identity) revoke(ctx context.Context, leaf *x509.Certificate) error {
	_, err := i.client.do(ctx, call{
		what: "revoke a certificate", namespace: i.client.namespaceOf(i.opts.Namespace),
		path: join(i.opts.Mount, "revoke"), body: map[string]any{"serial_number": serialOf(leaf)},
	})
	if ce, ok := errors.AsType[*callError](err); ok && ce.status == 400 && errors.Is(ce, fault.ErrConfig) {
		i.client.cfg.Logger.Warn("vault does not revoke a replaced certificate", "serial", serialOf(leaf), "error", ce)
		return nil
	}
	return err
}

// serialOf is a serial number as Vault writes it.
func serialOf(c *x509.Certificate) string {
	var parts []string
	for _, b := range c.SerialNumber.Bytes() {
		parts = append(parts, fmt.Sprintf("%02x", b))
	}
	return strings.Join(parts, ":")
}
