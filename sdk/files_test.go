package sdk_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

// kubelet writes a secret into a new folder, and swaps the link ..data that all its files go through.
func TestMountedSecretsAreSwappedUnderTraffic(t *testing.T) {
	ca := sdktest.NewCA(t)
	mount := func(n *fileNode, version int) string {
		id := n.issue(t, ca)
		data := fmt.Sprintf("..2026_11_24_%d", version)
		dir := n.path(filepath.Join("tls", data))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{"ca.crt": ca.PEM(), "tls.crt": id.CertPEM(), "tls.key": id.KeyPEM()} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
			if version == 0 {
				if err := os.Symlink(filepath.Join("..data", name), n.path(filepath.Join("tls", name))); err != nil {
					t.Skip(err)
				}
			}
		}
		if err := os.Symlink(data, n.path("tls/..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(n.path("tls/..data_tmp"), n.path("tls/..data")); err != nil {
			t.Fatal(err)
		}
		if version > 0 {
			if err := os.RemoveAll(n.path(fmt.Sprintf("tls/..2026_11_24_%d", version-1))); err != nil {
				t.Fatal(err)
			}
		}
		return sdk.Fingerprint(id.Leaf)
	}
	nodes := fileMesh(t, ca, 3, func(n *fileNode) { mount(n, 0) }, func(n *fileNode, b *sdk.Builder) {
		b.Trust = &file.Trust{Path: n.path("tls/ca.crt"), Settle: settle}
		b.Identity = &file.Identity{Cert: n.path("tls/tls.crt"), Key: n.path("tls/tls.key"), Settle: settle}
	})
	tr := startTraffic(t, nodes)
	tr.rounds(2)
	for version := 1; version <= 2; version++ { // one after the other
		for _, n := range nodes {
			n.serves(t, mount(n, version))
			tr.rounds(1)
		}
	}
	var prints []string // all at once
	for _, n := range nodes {
		prints = append(prints, mount(n, 3))
	}
	for i, n := range nodes {
		n.serves(t, prints[i])
	}
	tr.rounds(2)
}

func TestACertificateComesBeforeItsKeyUnderTraffic(t *testing.T) {
	ca := sdktest.NewCA(t)
	nodes := fileMesh(t, ca, 3, nil, nil)
	tr := startTraffic(t, nodes)
	for _, n := range nodes {
		before := n.fed.Status().Fingerprint
		id := n.issue(t, ca)
		n.put(t, "node.pem", id.CertPEM())
		s := n.until(t, "says that the pair does not match", func(s sdk.Status) bool { return s.Identity.State == "failing" })
		if s.Fingerprint != before || !errors.Is(s.Identity.Err, sdk.ErrMaterial) || !strings.Contains(s.Identity.Err.Error(), n.path("node.pem")) {
			t.Errorf("with half of the pair there %s serves %s and says %v; want the old pair and the file", n.name, s.Fingerprint, s.Identity.Err)
		}
		tr.rounds(2) // however long the key takes
		n.put(t, "node-key.pem", id.KeyPEM())
		n.serves(t, sdk.Fingerprint(id.Leaf))
		tr.rounds(1)
	}
}

// One CA takes the place of another. Both are trusted for a while; then every node is renewed, and forgets the old one. The
// orders are those of the renewal and of the forgetting, which nobody coordinates.
func TestOneCATakesTheOthersPlaceUnderTraffic(t *testing.T) {
	for _, tt := range []struct{ renew, forget string }{
		{"abc", "abc"}, {"abc", "cba"}, {"bca", "bca"}, {"bca", "abc"}, {"cab", "bac"},
	} {
		if testing.Short() && tt.renew == tt.forget {
			continue
		}
		t.Run(tt.renew+" "+tt.forget, func(t *testing.T) {
			first, second := sdktest.NewCA(t, sdktest.CAOptions{Name: "first"}), sdktest.NewCA(t, sdktest.CAOptions{Name: "second"})
			nodes := fileMesh(t, first, 3, nil, nil)
			tr := startTraffic(t, nodes)
			tr.rounds(1)
			named := func(c rune) *fileNode { return nodes[c-'a'] }
			for _, c := range tt.renew {
				named(c).trust(t, first, second)
			}
			for _, n := range nodes {
				n.trusts(t, 2)
			}
			prints := map[rune]string{}
			for _, c := range tt.renew {
				prints[c] = named(c).enrol(t, second)
			}
			for _, c := range tt.renew {
				named(c).serves(t, prints[c])
			}
			// At once: nobody has waited for the connections with the old certificates to go.
			for _, c := range tt.forget {
				named(c).trust(t, second)
				named(c).trusts(t, 3)
			}
			tr.rounds(2)
			for _, n := range nodes {
				if held := n.fed.Status().Held; len(held) > 0 {
					t.Errorf("%s holds %+v", n.name, held)
				}
			}
		})
	}
}

// All nodes forget the old CA in the same moment.
func TestAllForgetACAAtOnceUnderTraffic(t *testing.T) {
	first, second := sdktest.NewCA(t, sdktest.CAOptions{Name: "first"}), sdktest.NewCA(t, sdktest.CAOptions{Name: "second"})
	nodes := fileMesh(t, first, 3, nil, nil)
	tr := startTraffic(t, nodes)
	for _, n := range nodes {
		n.trust(t, first, second)
	}
	for _, n := range nodes {
		n.trusts(t, 2)
	}
	for _, n := range nodes {
		n.serves(t, n.enrol(t, second))
	}
	for _, n := range nodes {
		n.trust(t, second)
	}
	for _, n := range nodes {
		n.trusts(t, 3)
	}
	tr.rounds(2)
}

// A node forgets the old CA before the others have been renewed: the removal waits, and no request fails for it.
func TestARemovalThatComesTooEarlyWaitsUnderTraffic(t *testing.T) {
	first, second := sdktest.NewCA(t, sdktest.CAOptions{Name: "first"}), sdktest.NewCA(t, sdktest.CAOptions{Name: "second"})
	nodes := fileMesh(t, first, 3, nil, func(_ *fileNode, b *sdk.Builder) { b.HoldRemoval = time.Hour })
	a := nodes[0]
	tr := startTraffic(t, nodes)
	for _, n := range nodes {
		n.trust(t, first, second)
	}
	for _, n := range nodes {
		n.trusts(t, 2)
	}
	tr.rounds(1)
	a.trust(t, second)
	a.until(t, "holds the removal", func(s sdk.Status) bool { return len(s.Held) == 1 })
	tr.rounds(2)
	for _, n := range nodes {
		n.serves(t, n.enrol(t, second))
	}
	tr.rounds(1) // which shows a the new certificates
	a.until(t, "removes the root, since all are renewed", func(s sdk.Status) bool {
		return s.Trust.Generation == 3 && len(s.Held) == 0
	})
	tr.rounds(2)
}

// hang opens a request that does not end, and returns a channel that tells its end.
func hang(t *testing.T, from, to *fileNode) <-chan error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to.url()+"/hang", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := from.fed.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		ended <- err
	}()
	return ended
}

// A revocation list in a file cuts the peer that it revokes, in the middle of its requests. Lists that go back do not bring
// it back; a newer one without it does.
func TestARevokedPeerIsCutAndStaysSo(t *testing.T) {
	ca := sdktest.NewCA(t)
	empty := ca.CRL(t, sdktest.CRLOptions{Number: 1})
	nodes := fileMesh(t, ca, 3, func(n *fileNode) { n.put(t, "ca.crl", sdktest.CRLPEM(empty)) },
		func(n *fileNode, b *sdk.Builder) {
			b.Trust = &file.Trust{Path: n.path("ca.pem"), CRLs: []string{n.path("ca.crl")}, Settle: settle}
			b.Quorum.Writes = 2
		})
	a, c := nodes[0], nodes[2]
	id := c.issue(t, ca)
	c.put(t, "node-key.pem", id.KeyPEM())
	c.put(t, "node.pem", id.CertPEM())
	c.serves(t, sdk.Fingerprint(id.Leaf))

	inbound, outbound := hang(t, c, a), hang(t, a, c)
	c.down.Store(true)
	tr := startTraffic(t, nodes) // a and b: none of their requests fails
	tr.rounds(1)
	revokes := ca.CRL(t, sdktest.CRLOptions{Number: 5, Revoked: certs(id.Leaf)})
	for _, n := range nodes[:2] {
		n.put(t, "ca.crl", sdktest.CRLPEM(revokes))
		n.trusts(t, 2)
	}
	for name, ended := range map[string]<-chan error{"from c to a": inbound, "from a to c": outbound} {
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("the request %s ended well", name)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("the request %s lives on", name)
		}
	}
	shut := func(when string) {
		t.Helper()
		for _, n := range nodes[:2] {
			if _, err := post(t, n.node, c.node, "x"); err == nil {
				t.Errorf("%s: %s reaches the revoked peer", when, n.name)
			}
			if resp, err := post(t, c.node, n.node, "x"); err == nil {
				t.Errorf("%s: the revoked peer reaches %s: status %d", when, n.name, resp.StatusCode)
			}
		}
	}
	shut("revoked")
	if s := a.fed.Status(); s.Cut < 2 {
		t.Errorf("%d connections cut, want both directions", s.Cut)
	}
	tr.rounds(1)

	for _, n := range nodes[:2] {
		n.put(t, "ca.crl", sdktest.CRLPEM(empty))
		n.until(t, "holds the older list", func(s sdk.Status) bool { return len(s.Held) == 1 })
	}
	shut("an older list")
	for _, n := range nodes[:2] {
		if err := os.Remove(n.path("ca.crl")); err != nil {
			t.Fatal(err)
		}
		s := n.until(t, "misses the list", func(s sdk.Status) bool { return s.Trust.State == "failing" })
		if !errors.Is(s.Trust.Err, sdk.ErrNotFound) || !strings.Contains(s.Trust.Err.Error(), n.path("ca.crl")) {
			t.Errorf("%s says %v, want ErrNotFound and the file", n.name, s.Trust.Err)
		}
	}
	shut("no list")
	tr.rounds(1)

	newer := ca.CRL(t, sdktest.CRLOptions{Number: 6})
	for _, n := range nodes[:2] {
		n.put(t, "ca.crl", sdktest.CRLPEM(newer))
		n.trusts(t, 3)
		if held := n.fed.Status().Held; len(held) != 0 {
			t.Errorf("%s holds %+v", n.name, held)
		}
		if _, err := post(t, n.node, c.node, "x"); err != nil {
			t.Errorf("%s does not reach the peer that a newer list releases: %v", n.name, err)
		}
		if _, err := post(t, c.node, n.node, "x"); err != nil {
			t.Errorf("the peer that a newer list releases does not reach %s: %v", n.name, err)
		}
	}
	tr.rounds(1)
}

// Whatever is put where a good file was, the last good one serves, the status names file and cure, and a good file ends it.
func TestABadFileIsNamedAndTheLastGoodServesUnderTraffic(t *testing.T) {
	ca := sdktest.NewCA(t)
	nodes := fileMesh(t, ca, 3, nil, nil)
	tr := startTraffic(t, nodes)
	tr.rounds(1)
	other := nodes[0].issue(t, ca)
	trust := func(s sdk.Status) *sdk.MaterialStatus { return &s.Trust }
	identity := func(s sdk.Status) *sdk.MaterialStatus { return s.Identity }
	key := func(s sdk.Status) *sdk.MaterialStatus { return s.Key }
	for i, tt := range []struct {
		name, file string
		data       []byte
		of         func(sdk.Status) *sdk.MaterialStatus
		cure       string
	}{
		{"garbage for roots", "ca.pem", []byte("\x00\x01 this is no PEM"), trust, "PEM"},
		{"an empty file for roots", "ca.pem", nil, trust, "empty"},
		{"half a file for roots", "ca.pem", ca.PEM()[:200], trust, "cut short"},
		{"a leaf for roots", "ca.pem", other.CertPEM(), trust, "put the certificate of the CA there"},
		{"garbage for a certificate", "node.pem", []byte("no PEM"), identity, "PEM"},
		{"an empty file for a certificate", "node.pem", nil, identity, "empty"},
		{"another's certificate", "node.pem", other.CertPEM(), identity, "replace the other too"},
		{"an empty file for a key", "node-key.pem", nil, identity, "empty"},
		{"another's key", "node-key.pem", other.KeyPEM(), identity, "replace the other too"},
		{"garbage for a signing key", "node.ed25519", []byte("no key"), key, "openssl genpkey"},
		{"an empty file for a signing key", "node.ed25519", nil, key, "empty"},
		{"a TLS key for a signing key", "node.ed25519", other.KeyPEM(), key, "openssl genpkey"},
	} {
		a := nodes[i%len(nodes)] // in turn: pulls that bring nothing new are made ever less often
		good, err := os.ReadFile(a.path(tt.file))
		if err != nil {
			t.Fatal(err)
		}
		before := a.fed.Status()
		a.put(t, tt.file, tt.data)
		s := a.until(t, "fails on "+tt.name, func(s sdk.Status) bool { return tt.of(s).State == "failing" })
		text := tt.of(s).Err.Error()
		if !errors.Is(tt.of(s).Err, sdk.ErrMaterial) || !strings.Contains(text, a.path(tt.file)) || !strings.Contains(text, tt.cure) {
			t.Errorf("%s: the status says %q, want ErrMaterial, the file and %q", tt.name, text, tt.cure)
		}
		if tt.of(s).Generation != tt.of(before).Generation || s.Fingerprint != before.Fingerprint || s.SigningKey != before.SigningKey {
			t.Errorf("%s: it is in service", tt.name)
		}
		tr.rounds(1)
		a.put(t, tt.file, good)
		a.until(t, "recovers from "+tt.name, func(s sdk.Status) bool { return tt.of(s).State == "fresh" && tt.of(s).Err == nil })
	}
	// and what comes after a bad file is followed
	for _, n := range nodes {
		n.serves(t, n.enrol(t, ca))
	}
	tr.rounds(1)
}

func TestAFolderOfCAsIsRemovedAndMadeAgainUnderTraffic(t *testing.T) {
	first, second := sdktest.NewCA(t, sdktest.CAOptions{Name: "first"}), sdktest.NewCA(t, sdktest.CAOptions{Name: "second"})
	fill := func(n *fileNode, cas ...*sdktest.CA) {
		if err := os.Mkdir(n.path("cas"), 0o700); err != nil {
			t.Fatal(err)
		}
		for i, ca := range cas {
			n.put(t, fmt.Sprintf("cas/%d.pem", i), ca.PEM())
		}
	}
	nodes := fileMesh(t, first, 3, func(n *fileNode) { fill(n, first) }, func(n *fileNode, b *sdk.Builder) {
		b.Trust = &file.Trust{Path: n.path("cas"), Settle: settle}
		b.Quorum = quorum.Policy{Writes: 3, AckTimeout: 20 * time.Second}
	})
	tr := startTraffic(t, nodes)
	tr.rounds(1)
	for _, n := range nodes {
		if err := os.RemoveAll(n.path("cas")); err != nil {
			t.Fatal(err)
		}
		s := n.until(t, "misses its folder", func(s sdk.Status) bool { return s.Trust.State == "failing" })
		if !errors.Is(s.Trust.Err, sdk.ErrNotFound) || !strings.Contains(s.Trust.Err.Error(), n.path("cas")) {
			t.Errorf("%s says %v, want ErrNotFound and the folder", n.name, s.Trust.Err)
		}
		tr.rounds(1)
		fill(n, first, second)
		n.trusts(t, 2)
		// The folder made again is watched as the first one was.
		if err := os.Remove(n.path("cas/1.pem")); err != nil {
			t.Fatal(err)
		}
		n.trusts(t, 3)
	}
	tr.rounds(2)
}

// A signing key is replaced in one step, with no time in which peers are told of the next one: whoever meets a key that it
// does not know asks its owner, which publishes a key before it signs with it, and the old one for long after.
func TestASigningKeyIsReplacedUnderTraffic(t *testing.T) {
	ca := sdktest.NewCA(t)
	nodes := fileMesh(t, ca, 3, nil, nil) // every node has a key, so that each refuses what is not signed well
	tr := startTraffic(t, nodes)
	tr.rounds(1)
	replace := func(n *fileNode) (signed func()) {
		key := sdktest.Ed25519(t)
		thumbprint := signer.Thumbprint(key.Public().(ed25519.PublicKey))
		n.put(t, "node.ed25519", sdktest.KeyPEM(t, key))
		return func() {
			t.Helper()
			n.until(t, "signs with the new key", func(s sdk.Status) bool { return s.SigningKey == thumbprint && s.Key.State == "fresh" })
		}
	}
	for _, n := range nodes { // one after the other
		replace(n)()
		tr.rounds(2)
	}
	var all []func()
	for _, n := range nodes { // all at once
		all = append(all, replace(n))
	}
	for _, signed := range all {
		signed()
	}
	tr.rounds(2)
	tr.end()
	for _, n := range nodes {
		for tag, count := range n.fed.Status().Denied {
			if tag != signer.TagSignAgain { // of the first message to a process that has just started
				t.Errorf("%s refused %d requests as %s", n.name, count, tag)
			}
		}
	}
}
