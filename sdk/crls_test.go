package sdk_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// What a revocation list revoked is not trusted again because a file was lost or a backup restored.
func TestARevocationListThatGoesBackIsKeptOut(t *testing.T) {
	second := sdktest.NewCA(t, sdktest.CAOptions{Name: "second"})
	for _, tt := range []struct {
		name  string
		after func(m *mesh, b *node) (roots []*x509.Certificate, crls []*x509.RevocationList)
		back  bool // b is trusted again
		held  bool
	}{
		{"an older list", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(m.ca.CRL(t, sdktest.CRLOptions{Number: 4}))
		}, false, true},
		{"no list", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), nil
		}, false, true},
		{"a list of another CA alone", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(second.CRL(t, sdktest.CRLOptions{Number: 9}))
		}, false, true},
		{"a newer list of changes alone", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(delta(t, m.ca, 9))
		}, false, true},
		{"a newer list with an unknown critical extension", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(unenforced(t, m.ca, 9, false))
		}, false, true},
		{"a newer indirect list", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(unenforced(t, m.ca, 9, true))
		}, false, true},
		{"a newer list beside one that is not enforced", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(m.ca.CRL(t, sdktest.CRLOptions{Number: 6}), unenforced(t, m.ca, 9, true))
		}, true, false},
		{"an older list, and a root less", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate), lists(m.ca.CRL(t, sdktest.CRLOptions{Number: 4}))
		}, false, true},
		{"a newer list without the entry", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(m.ca.CRL(t, sdktest.CRLOptions{Number: 6}))
		}, true, false},
		{"a newer list beside an older one", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			return certs(m.ca.Certificate, second.Certificate), lists(m.ca.CRL(t, sdktest.CRLOptions{Number: 4}), m.ca.CRL(t, sdktest.CRLOptions{Number: 6}))
		}, true, false},
		{"the CA leaves with its list", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			b.identity.set(func(s *source) { s.cert = second.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}}).TLS })
			b.waitChange(t, sdk.RoleIdentity, 2)
			return certs(second.Certificate), nil
		}, true, false},
		{"the CA leaves for one of its name with another key", func(m *mesh, b *node) ([]*x509.Certificate, []*x509.RevocationList) {
			rekeyed := sdktest.NewCA(t)
			a := m.nodes[0]
			a.trust.set(func(s *source) { s.roots = append(s.roots[:2:2], rekeyed.Certificate) })
			a.waitChange(t, sdk.RoleTrust, 3)
			b.identity.set(func(s *source) { s.cert = rekeyed.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}}).TLS })
			b.waitChange(t, sdk.RoleIdentity, 2)
			return certs(second.Certificate, rekeyed.Certificate), nil
		}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
				n.trust.roots = append(n.trust.roots, second.Certificate)
				b.Quorum.Writes = 1
			})
			a, b := m.nodes[0], m.nodes[1]
			crl := m.ca.CRL(t, sdktest.CRLOptions{Number: 5, Revoked: certs(b.identity.cert.Leaf)})
			a.trust.set(func(s *source) { s.crls = lists(crl) })
			a.waitChange(t, sdk.RoleTrust, 2)
			if _, err := post(t, a, b, "x"); err == nil {
				t.Fatal("a revoked peer was reached")
			}
			roots, crls := tt.after(m, b)
			a.trust.set(func(s *source) { s.roots, s.crls = roots, crls })
			if err := a.fed.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := post(t, a, b, "x"); (err == nil) != tt.back {
				t.Errorf("reaching the peer: %v, want it trusted: %v", err, tt.back)
			}
			held := a.fed.Status().Held
			if (len(held) == 1) != tt.held {
				t.Fatalf("held %+v, want something held: %v", held, tt.held)
			}
			if !tt.held {
				return
			}
			if strings.HasPrefix(tt.name, "a newer indirect") && !strings.Contains(held[0].Reason, "(number 9) is not enforced: it is an indirect list") {
				t.Errorf("held %+v, which does not say why the newer list is nothing", held[0])
			}
			if !held[0].Deadline.IsZero() || !strings.Contains(held[0].Reason, "number 5") {
				t.Errorf("held %+v, want no deadline and the number of the list", held[0])
			}
			a.waitEvent(t, "refused", func(e sdk.Event) bool {
				return e.Kind == sdk.EventRefused && strings.Contains(e.Detail, "revocation list") && strings.Contains(e.Detail, "Confirm")
			})
			if err := a.fed.Confirm(t.Context(), held[0].ID); err != nil {
				t.Fatal(err)
			}
			if _, err := post(t, a, b, "x"); err != nil {
				t.Errorf("confirmed, and not in service: %v", err)
			}
			if held := a.fed.Status().Held; len(held) != 0 {
				t.Errorf("still held: %+v", held)
			}
			// Confirmed once is not confirmed for ever.
			again := m.ca.CRL(t, sdktest.CRLOptions{Number: 7, Revoked: certs(b.identity.cert.Leaf)})
			for _, l := range [][]*x509.RevocationList{lists(again), crls} {
				a.trust.set(func(s *source) { s.crls = l })
				if err := a.fed.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := post(t, a, b, "x"); err == nil {
					t.Error("revoked again, it was reached")
				}
			}
		})
	}
}

// A CA whose database was restored numbers its lists from where the backup was. What it revokes from then on is revoked at
// once, and what it has forgotten stays revoked until somebody decides.
func TestARestoredCARevokesOn(t *testing.T) {
	m := newMesh(t, 3, echo, func(n *node, b *sdk.Builder) { b.Quorum.Writes = 1 })
	a, b, c := m.nodes[0], m.nodes[1], m.nodes[2]
	now := time.Now()
	before := m.ca.CRL(t, sdktest.CRLOptions{Number: 5, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour), Revoked: certs(b.identity.cert.Leaf)})
	a.trust.set(func(s *source) { s.crls = lists(before) })
	a.waitChange(t, sdk.RoleTrust, 2)
	restored := m.ca.CRL(t, sdktest.CRLOptions{Number: 3, Revoked: certs(c.identity.cert.Leaf)})
	a.trust.set(func(s *source) { s.crls = lists(restored) })
	if err := a.fed.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, peer := range []*node{b, c} {
		if _, err := post(t, a, peer, "x"); err == nil {
			t.Errorf("%s is revoked, and was reached", peer.fed.ID())
		}
	}
	if held := a.fed.Status().Held; len(held) != 1 || !strings.Contains(held[0].Reason, "number 5") {
		t.Errorf("held %+v, want the list that went back", held)
	}
}

// The list of an intermediate, which is no root, is kept until it runs out; for ever if it does not say when.
func TestAnIntermediatesListIsKeptUntilItRunsOut(t *testing.T) {
	m := newMesh(t, 2, echo, func(_ *node, b *sdk.Builder) { b.Quorum.Writes = 1 })
	a := m.nodes[0]
	issuer := m.ca.Intermediate(t, sdktest.CAOptions{Name: "issuer"})
	for _, tt := range []struct {
		next time.Time
		held int
	}{{time.Now().Add(time.Hour), 1}, {time.Now().Add(-time.Second), 0}, {time.Time{}, 1}} {
		crl := issuer.CRL(t, sdktest.CRLOptions{NextUpdate: tt.next})
		if tt.next.IsZero() {
			crl.NextUpdate = tt.next // as one is parsed that has none
		}
		for _, l := range [][]*x509.RevocationList{lists(crl), nil} {
			a.trust.set(func(s *source) { s.crls = l })
			if err := a.fed.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if held := a.fed.Status().Held; len(held) != tt.held {
			t.Errorf("a list that ends at %v is gone: held %+v, want %d", tt.next, held, tt.held)
		}
	}
}

// delta makes a list of what has changed since list 5: nothing.
func delta(t *testing.T, ca *sdktest.CA, number int64) *x509.RevocationList {
	t.Helper()
	base, err := asn1.Marshal(5)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number:          big.NewInt(number),
		ThisUpdate:      time.Now().Add(-time.Minute),
		NextUpdate:      time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: base}},
	}, ca.Certificate, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// unenforced makes a list, with nothing revoked by ca, that nobody enforces: it has an entry that speaks for another
// issuer, or an extension of its own.
func unenforced(t *testing.T, ca *sdktest.CA, number int64, indirect bool) *x509.RevocationList {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	extension := []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	if indirect {
		extension[0].Id = asn1.ObjectIdentifier{2, 5, 29, 29}
		list.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(1), RevocationTime: time.Now(), ExtraExtensions: extension}}
	} else {
		list.ExtraExtensions = extension
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Certificate, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	if list, err = x509.ParseRevocationList(der); err != nil {
		t.Fatal(err)
	}
	return list
}

func lists(l ...*x509.RevocationList) []*x509.RevocationList { return l }

// Only a list that the same CA signed takes the place of another: one that is forged lifts no revocation, and does not
// shut out the genuine list after it.
func TestAForgedRevocationListReplacesNone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		issuer func(m *mesh) *sdktest.CA // of b's certificate
		forger func(*sdktest.CA) *sdktest.CA
		hidden bool // a has no certificate by which to check the list
		held   int
	}{
		{"a root's", func(m *mesh) *sdktest.CA { return m.ca }, func(*sdktest.CA) *sdktest.CA { return sdktest.NewCA(t) }, false, 1},
		{
			"an intermediate's that a peer showed",
			func(m *mesh) *sdktest.CA { return m.ca.Intermediate(t, sdktest.CAOptions{Name: "issuer"}) },
			func(*sdktest.CA) *sdktest.CA { return sdktest.NewCA(t, sdktest.CAOptions{Name: "issuer"}) }, false, 1,
		},
		{
			"an intermediate's that nobody showed",
			func(m *mesh) *sdktest.CA { return m.ca.Intermediate(t, sdktest.CAOptions{Name: "issuer"}) },
			func(*sdktest.CA) *sdktest.CA { return sdktest.NewCA(t, sdktest.CAOptions{Name: "issuer"}) }, true, 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t, 2, echo, func(_ *node, b *sdk.Builder) { b.Quorum.Writes = 1 })
			a, b := m.nodes[0], m.nodes[1]
			ca := tt.issuer(m)
			leaf := ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}})
			b.identity.set(func(s *source) { s.cert = leaf.TLS })
			b.waitChange(t, sdk.RoleIdentity, 2)
			if !tt.hidden {
				if _, err := post(t, a, b, "x"); err != nil {
					t.Fatal(err)
				}
			}
			forger := tt.forger(ca)
			forger.Certificate.SubjectKeyId = ca.Certificate.SubjectKeyId
			genuine := ca.CRL(t, sdktest.CRLOptions{Number: 5, Revoked: certs(leaf.Leaf)})
			forged := forger.CRL(t, sdktest.CRLOptions{Number: 999})
			if !bytes.Equal(genuine.RawIssuer, forged.RawIssuer) || !bytes.Equal(genuine.AuthorityKeyId, forged.AuthorityKeyId) {
				t.Fatal("the forged list does not look like the genuine one")
			}
			for _, step := range []struct {
				name    string
				crl     *x509.RevocationList
				held    int
				revoked bool
			}{
				{"genuine", genuine, 0, true},
				{"forged", forged, tt.held, true},
				{"newer", ca.CRL(t, sdktest.CRLOptions{Number: 6, Revoked: certs(leaf.Leaf)}), -1, true},
				{"forged again", forged, -1, true},
				{"without the entry", ca.CRL(t, sdktest.CRLOptions{Number: 7}), 0, false},
			} {
				if tt.hidden && !step.revoked {
					continue // it waits until the old one has run out
				}
				a.trust.set(func(s *source) { s.crls = lists(step.crl) })
				a.pull(t)
				if held := a.fed.Status().Held; step.held >= 0 && len(held) != step.held {
					t.Errorf("%s: held %+v, want %d", step.name, held, step.held)
				}
				if _, err := post(t, a, b, "x"); (err != nil) != step.revoked {
					t.Errorf("%s: reaching the peer: %v, want it revoked: %v", step.name, err, step.revoked)
				}
			}
		})
	}
}

// A list that has no end, of an intermediate that nobody has shown, does not give way to one that is newer by its number
// alone.
func TestAnEndlessListDoesNotGiveWayByNumberAlone(t *testing.T) {
	m := newMesh(t, 2, echo, func(_ *node, b *sdk.Builder) { b.Quorum.Writes = 1 })
	a, b := m.nodes[0], m.nodes[1]
	ca := m.ca.Intermediate(t, sdktest.CAOptions{Name: "issuer"})
	forger := sdktest.NewCA(t, sdktest.CAOptions{Name: "issuer"})
	forger.Certificate.SubjectKeyId = ca.Certificate.SubjectKeyId
	leaf := ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}})
	b.identity.set(func(s *source) { s.cert = leaf.TLS })
	b.waitChange(t, sdk.RoleIdentity, 2)
	genuine := ca.CRL(t, sdktest.CRLOptions{Number: 5, Revoked: certs(leaf.Leaf)})
	genuine.NextUpdate = time.Time{} // as one is parsed that has none
	for _, l := range []*x509.RevocationList{genuine, forger.CRL(t, sdktest.CRLOptions{Number: 999})} {
		a.trust.set(func(s *source) { s.crls = lists(l) })
		a.pull(t)
		if _, err := post(t, a, b, "x"); err == nil {
			t.Errorf("with list %v a revoked peer was reached", l.Number)
		}
	}
	if held := a.fed.Status().Held; len(held) != 1 {
		t.Errorf("held %+v, want the list that claims to be newer", held)
	}
}
