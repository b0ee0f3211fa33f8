package providertest

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

var trustRole = role[sdk.TrustProvider, *sdk.TrustBundle]{
	pull: func(ctx context.Context, p sdk.TrustProvider) (*sdk.TrustBundle, error) {
		return p.TrustBundle(ctx)
	},
	inspect: inspectTrust,
	print:   printTrust,
}

func inspectTrust(t tb, b *sdk.TrustBundle) {
	t.Helper()
	if b == nil {
		t.Error("the bundle is nil without an error")
		return
	}
	if b.RefreshAfter < 0 {
		t.Errorf("RefreshAfter is %v, want 0 or more", b.RefreshAfter)
	}
	if len(b.Roots) == 0 {
		t.Error("the bundle has no roots; an empty bundle is an error that wraps ErrMaterial or ErrNotFound")
	}
	valid := false
	for i, c := range b.Roots {
		if c == nil || len(c.Raw) == 0 {
			t.Errorf("Roots[%d] is not a parsed certificate", i)
			continue
		}
		if !c.BasicConstraintsValid || !c.IsCA {
			t.Errorf("Roots[%d] (%s) is not a CA certificate", i, c.Subject)
		}
		if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			t.Errorf("Roots[%d] (%s) may not sign certificates", i, c.Subject)
		}
		if now := time.Now(); now.Before(c.NotAfter) && now.After(c.NotBefore) {
			valid = true
		}
	}
	if len(b.Roots) > 0 && !valid {
		t.Error("none of the roots is valid today")
	}
	for i, l := range b.CRLs {
		if l == nil || len(l.Raw) == 0 {
			t.Errorf("CRLs[%d] is not a parsed revocation list", i)
		}
	}
}

func printTrust(b *sdk.TrustBundle) string {
	if b == nil {
		return "nil"
	}
	var parts []string
	for _, c := range b.Roots {
		if c != nil {
			parts = append(parts, fmt.Sprintf("root:%x", sha256.Sum256(c.Raw)))
		}
	}
	for _, l := range b.CRLs {
		if l != nil {
			parts = append(parts, fmt.Sprintf("crl:%x", sha256.Sum256(l.Raw)))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
