package crl_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/internal/crl"
)

func TestCheckSaysWhyAListIsNotEnforced(t *testing.T) {
	list := func(oid asn1.ObjectIdentifier, critical bool) *x509.RevocationList {
		return &x509.RevocationList{Extensions: []pkix.Extension{{Id: oid, Critical: critical, Value: []byte{5, 0}}}}
	}
	entry := func(oid asn1.ObjectIdentifier) *x509.RevocationList {
		return &x509.RevocationList{RevokedCertificateEntries: []x509.RevocationListEntry{{}, {Extensions: list(oid, true).Extensions}}}
	}
	for _, tt := range []struct {
		name string
		list *x509.RevocationList
		want string
	}{
		{"plain", &x509.RevocationList{}, ""},
		{"a part", list(asn1.ObjectIdentifier{2, 5, 29, 28}, true), ""},
		{"delta", list(asn1.ObjectIdentifier{2, 5, 29, 27}, true), "delta"},
		{"unknown extension", list(asn1.ObjectIdentifier{1, 2, 3}, false), ""},
		{"unknown critical extension", list(asn1.ObjectIdentifier{1, 2, 3}, true), "1.2.3"},
		{"indirect", entry(asn1.ObjectIdentifier{2, 5, 29, 29}), "indirect"},
		{"reason", entry(asn1.ObjectIdentifier{2, 5, 29, 21}), ""},
	} {
		if err := crl.Check(tt.list); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if part := crl.Part(list(asn1.ObjectIdentifier{2, 5, 29, 28}, true)); len(part) != 2 {
		t.Errorf("part %x, want what the extension holds", part)
	}
	if part := crl.Part(list(asn1.ObjectIdentifier{1, 2, 3}, true)); part != nil {
		t.Errorf("part %x of a list that covers everything", part)
	}
}
