package sdk_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// post sends a request from one node to another and returns the answer, its body closed.
func post(t *testing.T, from, to *node, body string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ctx = transport.WithOperation(ctx, rand.Text())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url()+"/anything", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := from.fed.Client().Do(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

func TestASignedRequestArrivesAsThePeerThatSentIt(t *testing.T) {
	m := newMesh(t, 3, echo, nil)
	for _, from := range m.nodes {
		for _, to := range m.nodes {
			if from == to {
				continue
			}
			resp, err := post(t, from, to, "hello")
			if err != nil {
				t.Fatalf("%s to %s: %v", from.name, to.name, err)
			}
			if resp.StatusCode != http.StatusOK || resp.Header.Get("X-From") != from.name {
				t.Errorf("%s to %s: status %d, from %q, refusal %q", from.name, to.name, resp.StatusCode, resp.Header.Get("X-From"), signer.RefusalOf(resp))
			}
		}
	}
	st := m.nodes[0].fed.Status()
	if st.ID != "a.example" || st.SigningKey == "" || st.Unsigned != "" || st.Trust.State != "fresh" {
		t.Errorf("status %+v: want ID a.example, a signing key and fresh trust", st)
	}
	if r := m.nodes[0].fed.Check(t.Context()); !r.OK() {
		t.Errorf("check: %v", r.Err())
	}
}

func TestTheClientRefusesWhoIsNoPeer(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	_, err := m.nodes[0].fed.Client().Get("https://elsewhere.example/")
	if !errors.Is(err, sdk.ErrPermission) {
		t.Errorf("got %v, want ErrPermission", err)
	}
}

func TestARedirectToAnotherOriginIsNotFollowed(t *testing.T) {
	var target string
	m := newMesh(t, 3, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
	}), nil)
	target = m.nodes[2].url() + "/steal"
	if _, err := post(t, m.nodes[0], m.nodes[1], "secret"); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("got %v, want the redirect refused", err)
	}
}

func TestIdentityAndRootsRotateUnderTraffic(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	stop := make(chan struct{})
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
				select {
				case failed <- errors.Join(err, errors.New("request failed")):
				default:
				}
				return
			}
		}
	}()
	first := a.fed.Status().Fingerprint
	a.identity.set(func(s *source) { s.cert = m.issue(t, "a").TLS })
	a.waitChange(t, sdk.RoleIdentity, 2)
	if a.fed.Status().Fingerprint == first {
		t.Error("the identity did not change")
	}
	// A new CA: both trust it, both are issued from it, the old one goes.
	m.ca = sdktest.NewCA(t, sdktest.CAOptions{Name: "new CA"})
	for _, n := range m.nodes {
		n.trust.set(func(s *source) { s.roots = append(s.roots[:1:1], m.ca.Certificate) })
		n.waitChange(t, sdk.RoleTrust, 2)
	}
	for i, n := range m.nodes {
		n.identity.set(func(s *source) { s.cert = m.issue(t, n.name).TLS })
		n.waitChange(t, sdk.RoleIdentity, uint64(3-i))
	}
	if resp, err := post(t, b, a, "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("b to a under the new CA: %v", err)
	}
	for _, n := range m.nodes {
		n.trust.set(func(s *source) { s.roots = s.roots[1:] })
		n.waitChange(t, sdk.RoleTrust, 3)
	}
	close(stop)
	<-done
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
}

// A session with a key that lives elsewhere signs until it is closed.
type session struct {
	crypto.Signer
	closed atomic.Bool
}

func (s *session) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.closed.Load() {
		return nil, errors.New("the session is closed")
	}
	return s.Signer.Sign(r, digest, opts)
}

func TestANewSessionWithTheSameKeysTakesOver(t *testing.T) {
	var first [2]*session
	open := func(k crypto.PrivateKey) *session { return &session{Signer: k.(crypto.Signer)} }
	private := sdktest.Ed25519(t)
	signing := func(s *session) signer.Key {
		k, err := signer.KeyOf(s)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	m := newMesh(t, 2, echo, func(n *node, _ *sdk.Builder) {
		if n.name == "a" {
			first = [2]*session{open(n.identity.cert.PrivateKey), open(private)}
			cert := *n.identity.cert
			cert.PrivateKey = first[0]
			n.identity.cert, n.key.key = &cert, signing(first[1])
		}
	})
	a, b := m.nodes[0], m.nodes[1]
	handshake := func() error {
		c, err := tls.Dial("tcp", b.listener.Addr().String(), a.fed.ClientTLS("b"))
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := handshake(); err != nil {
		t.Fatal(err)
	}
	second := [2]*session{open(first[0].Signer), open(private)}
	a.identity.set(func(s *source) {
		cert := *s.cert
		cert.PrivateKey, cert.OCSPStaple = second[0], []byte("newer")
		s.cert = &cert
	})
	a.key.set(func(s *source) { s.key = signing(second[1]) })
	if err := a.fed.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range first {
		s.closed.Store(true)
	}
	if err := handshake(); err != nil {
		t.Errorf("a handshake after the first session ended: %v", err)
	}
	if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a message after the first session ended: %v", err)
	}
	if st := a.fed.Status(); st.Identity.Generation != 1 || st.Key.Generation != 1 || st.Generation != 1 {
		t.Errorf("generations %d, %d, %d: a new session is no new material", st.Identity.Generation, st.Key.Generation, st.Generation)
	}
}

func TestABundleWithoutAnyCurrentRootIsKeptOutUntilConfirmed(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a := m.nodes[0]
	other := sdktest.NewCA(t)
	a.trust.set(func(s *source) { s.roots = s.roots[:0:0]; s.roots = append(s.roots, other.Certificate) })
	a.waitEvent(t, "refused", func(e sdk.Event) bool { return e.Kind == sdk.EventRefused && e.Role == sdk.RoleTrust })
	if resp, err := post(t, a, m.nodes[1], "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the old trust is gone: %v", err)
	}
	held := a.fed.Status().Held
	if len(held) != 1 || !held[0].Deadline.IsZero() {
		t.Fatalf("held %+v, want one without a deadline", held)
	}
	if err := a.fed.Confirm(t.Context(), "nonsense"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("confirming what is not held: %v, want ErrNotFound", err)
	}
	if err := a.fed.Confirm(t.Context(), held[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := post(t, a, m.nodes[1], "x"); err == nil {
		t.Error("a peer under a root that is gone was reached")
	}
	if held := a.fed.Status().Held; len(held) != 0 {
		t.Errorf("still held: %+v", held)
	}
}

func TestARemovalThatWouldLoseTheQuorumIsHeldAndARevocationIsNot(t *testing.T) {
	extra := sdktest.NewCA(t, sdktest.CAOptions{Name: "extra"})
	m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
		n.trust.roots = append(n.trust.roots, extra.Certificate)
		b.HoldRemoval = time.Hour
	})
	a, b := m.nodes[0], m.nodes[1]
	if _, err := post(t, a, b, "x"); err != nil {
		t.Fatal(err)
	}
	a.trust.set(func(s *source) { s.roots = s.roots[1:] })
	e := a.waitEvent(t, "held", func(e sdk.Event) bool { return e.Kind == sdk.EventHeld })
	if !strings.Contains(e.Detail, "Confirm") || !strings.Contains(e.Detail, "b") {
		t.Errorf("event %q does not say how to confirm, or who is lost", e.Detail)
	}
	if _, err := post(t, a, b, "x"); err != nil {
		t.Errorf("the held removal took effect: %v", err)
	}
	crl := m.ca.CRL(t, sdktest.CRLOptions{Revoked: certs(b.identity.cert.Leaf)})
	a.trust.set(func(s *source) { s.crls = append(s.crls, crl) })
	a.waitChange(t, sdk.RoleTrust, 2)
	if _, err := post(t, a, b, "x"); err == nil {
		t.Error("a revoked peer was reached")
	}
}

func TestDistrustCutsAtOnce(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	if _, err := post(t, a, b, "x"); err != nil {
		t.Fatal(err)
	}
	if err := a.fed.Distrust(sdk.Fingerprint(b.identity.cert.Leaf)); err != nil {
		t.Fatal(err)
	}
	if _, err := post(t, a, b, "x"); err == nil {
		t.Error("a distrusted certificate was accepted")
	}
	if _, err := post(t, b, a, "x"); err == nil {
		t.Error("a distrusted certificate was let in")
	}
	if err := a.fed.Distrust("nonsense"); !errors.Is(err, sdk.ErrConfig) {
		t.Errorf("got %v, want ErrConfig", err)
	}
}

func TestADistrustedSigningKeyIsRefused(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	if err := a.fed.Distrust(b.fed.Status().SigningKey); err != nil {
		t.Fatal(err)
	}
	resp, err := post(t, b, a, "x")
	if err != nil || signer.RefusalOf(resp) != signer.TagKeyUnknown {
		t.Errorf("got %v, %v; want the tag key_unknown", signer.RefusalOf(resp), err)
	}
}

func TestAProviderThatFailsLaterFailsNoRequest(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a := m.nodes[0]
	for _, s := range []*source{a.trust, a.identity, a.key} {
		s.set(func(s *source) { s.err = sdk.ErrUnavailable })
	}
	a.waitEvent(t, "failed", func(e sdk.Event) bool { return e.Kind == sdk.EventFailed && e.Role == sdk.RoleKey })
	a.waitEvent(t, "failed", func(e sdk.Event) bool { return e.Kind == sdk.EventFailed && e.Role == sdk.RoleTrust })
	if resp, err := post(t, a, m.nodes[1], "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("with all providers down: %v", err)
	}
	if st := a.fed.Status(); st.Trust.State != "failing" || st.Trust.Err == nil {
		t.Errorf("trust is %+v, want failing with its error", st.Trust)
	}
}

func TestSigningKeysRotateWithoutARefusal(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("with the first key: %v, %s", err, signer.RefusalOf(resp))
	}
	key, _ := signer.KeyOf(sdktest.Ed25519(t))
	before := a.fed.Status().SigningKey
	a.key.set(func(s *source) { s.key = key })
	a.waitChange(t, sdk.RoleKey, 2)
	if after := a.fed.Status().SigningKey; after == before {
		t.Fatal("the key did not change")
	}
	if resp, err := post(t, a, b, "x"); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("with the new key: %v, %s", err, signer.RefusalOf(resp))
	}
}

func TestSetPeersReplacesTheListAndResolvesTheQuorum(t *testing.T) {
	m := newMesh(t, 3, echo, nil)
	a, b, c := m.nodes[0], m.nodes[1], m.nodes[2]
	if p := a.fed.Policy(); p.N != 3 || p.Writes != 2 {
		t.Fatalf("policy %v, want 2 of 3", p)
	}
	list := a.fed.Peers()
	if err := a.fed.SetPeers(t.Context(), append(list, list[0])); !errors.Is(err, sdk.ErrConfig) {
		t.Errorf("a doubled peer: %v, want ErrConfig", err)
	}
	if err := a.fed.SetPeers(t.Context(), list[:1]); err != nil {
		t.Fatal(err)
	}
	if p := a.fed.Policy(); p.N != 2 || p.Writes != 2 {
		t.Errorf("policy %v, want 2 of 2", p)
	}
	if _, err := post(t, a, c, "x"); !errors.Is(err, sdk.ErrPermission) {
		t.Errorf("a peer that left was reached: %v", err)
	}
	if _, err := post(t, c, a, "x"); err == nil {
		t.Error("a peer that left was let in")
	}
	if _, err := post(t, a, b, "x"); err != nil {
		t.Errorf("a peer that stayed: %v", err)
	}
	if err := a.fed.SetPeers(t.Context(), nil); !errors.Is(err, sdk.ErrDisabled) {
		t.Errorf("no peers: %v, want ErrDisabled", err)
	}
}

func TestPeerTrustVouchesForThatPeerAlone(t *testing.T) {
	theirs := sdktest.NewCA(t, sdktest.CAOptions{Name: "their CA"})
	m := newMesh(t, 3, echo, func(n *node, b *sdk.Builder) {
		if n.name == "a" {
			for i := range b.Peers {
				if b.Peers[i].Name == "c" {
					b.Peers[i].Trust = &source{roots: certs(theirs.Certificate)}
				}
			}
		}
	})
	a, b, c := m.nodes[0], m.nodes[1], m.nodes[2]
	if _, err := post(t, a, b, "x"); err != nil {
		t.Errorf("b under the common CA: %v", err)
	}
	if _, err := post(t, a, c, "x"); err == nil {
		t.Error("c was accepted under a CA that does not vouch for it")
	}
	// b, issued by c's company, is not b.
	b.identity.set(func(s *source) { s.cert = theirs.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}}).TLS })
	b.waitChange(t, sdk.RoleIdentity, 2)
	if _, err := post(t, b, a, "x"); err == nil {
		t.Error("another company's CA vouched for b, inbound")
	}
}

func TestAuthorizeHasTheLastWord(t *testing.T) {
	m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
		b.Authorize = func(p sdk.Peer, r *http.Request) error {
			if p.Name == "a" && r.Method == http.MethodPost {
				return errors.New("a may not write")
			}
			return nil
		}
	})
	resp, err := post(t, m.nodes[0], m.nodes[1], "x")
	if err != nil || resp.StatusCode != http.StatusForbidden || signer.RefusalOf(resp) != sdk.TagForbidden {
		t.Errorf("got %v, %v; want 403 forbidden", resp, err)
	}
	if d := m.nodes[1].fed.Status().Peers[0].Denied; d[sdk.TagForbidden] != 1 {
		t.Errorf("denied %v, want one forbidden", d)
	}
}

func TestBuildSaysWhyFederationIsOff(t *testing.T) {
	s := &source{}
	for _, tt := range []struct {
		name string
		b    sdk.Builder
		want string
	}{
		{"zero writes", sdk.Builder{Trust: s, Peers: []sdk.Peer{{URL: "https://b.example"}}}, "Quorum.Writes"},
		{"no peers", sdk.Builder{Trust: s, Quorum: quorum.Policy{Writes: 1}}, "Peers"},
	} {
		fed, err := tt.b.Build(t.Context())
		if fed != nil || !errors.Is(err, sdk.ErrDisabled) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v; want nil and ErrDisabled naming %s", tt.name, fed, err, tt.want)
		}
	}
}

func TestBuildReportsEveryProblemAtOnce(t *testing.T) {
	_, err := sdk.Builder{
		ID:          "a b",
		Peers:       []sdk.Peer{{URL: "http://b.example"}, {URL: "https://c.example?x"}},
		Quorum:      quorum.Policy{Writes: 9, AckTimeout: -1},
		Signing:     7,
		HoldRemoval: -1,
		Transport:   transport.Options{ConnectTimeout: -1, MaxConns: -1, AllowPlaintext: true},
	}.Build(t.Context())
	for _, field := range []string{
		"ID", "Trust", "SystemRoots", "Peers[0].URL", "Peers[1].URL", "Quorum.Writes", "Quorum.AckTimeout", "Signing", "HoldRemoval",
		"Transport.ConnectTimeout", "Transport.MaxConns", "Builder.AllowPlaintext",
	} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
	if !errors.Is(err, sdk.ErrConfig) {
		t.Errorf("the error does not match ErrConfig: %v", err)
	}
}

func TestBuildFailsAtOnceOnMaterialThatCannotServe(t *testing.T) {
	ca := sdktest.NewCA(t)
	expired := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	server := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Usage: serverOnly})
	nameless := ca.Issue(t, sdktest.Leaf{})
	other := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
	mismatch := *other.TLS
	mismatch.PrivateKey = expired.TLS.PrivateKey
	good := &source{roots: certs(ca.Certificate)}
	for _, tt := range []struct {
		name  string
		alter func(*sdk.Builder)
		want  []string
		is    error
	}{
		{"expired identity", func(b *sdk.Builder) { b.Identity = &source{cert: expired.TLS} }, []string{"Identity", "ended", "renew"}, sdk.ErrExpired},
		{"identity without clientAuth", func(b *sdk.Builder) { b.Identity = &source{cert: server.TLS} }, []string{"Identity", "clientAuth"}, sdk.ErrMaterial},
		{"identity without a name", func(b *sdk.Builder) { b.Identity = &source{cert: nameless.TLS} }, []string{"ID", "no URI"}, sdk.ErrConfig},
		{"identity with another's key", func(b *sdk.Builder) { b.Identity = &source{cert: &mismatch} }, []string{"Identity", "belongs together"}, sdk.ErrMaterial},
		{"no identity at all", func(b *sdk.Builder) { b.Identity = &source{} }, []string{"Identity"}, sdk.ErrMaterial},
		{"empty trust", func(b *sdk.Builder) { b.Trust = &source{} }, []string{"Trust", "empty"}, sdk.ErrMaterial},
		{"a leaf as a root", func(b *sdk.Builder) { b.Trust = &source{roots: certs(other.Leaf)} }, []string{"Trust", "not a CA"}, sdk.ErrMaterial},
		{"no key", func(b *sdk.Builder) { b.Key = &source{} }, []string{"Key"}, sdk.ErrMaterial},
		{"key not found", func(b *sdk.Builder) { b.Key = &source{err: sdk.ErrNotFound} }, []string{"Key"}, sdk.ErrNotFound},
		{"peer trust", func(b *sdk.Builder) { b.Peers[0].Trust = &source{err: sdk.ErrPermission} }, []string{"Peers[0].Trust"}, sdk.ErrPermission},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := sdk.Builder{Trust: good, Peers: []sdk.Peer{{URL: "https://b.example"}}, Quorum: quorum.Policy{Writes: 2}}
			tt.alter(&b)
			fed, err := b.Build(t.Context())
			if err == nil {
				fed.Close()
				t.Fatal("it was built")
			}
			if !errors.Is(err, tt.is) {
				t.Errorf("error %v does not match %v", err, tt.is)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %v says nothing of %q", err, part)
				}
			}
		})
	}
}

func TestBuildWaitsForAProviderWithinItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := sdk.Builder{
		Trust:  &source{err: sdk.ErrUnavailable},
		Peers:  []sdk.Peer{{URL: "https://b.example"}},
		Quorum: quorum.Policy{Writes: 2},
	}.Build(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("got %v, want the context's error and the provider's", err)
	}
}

func TestSignPreferredSendsUnsignedAndSaysSo(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		loud bool
	}{
		{"no key enrolled", sdk.ErrNotFound, false},
		{"key cannot be loaded", sdk.ErrPermission, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
				if n.name == "a" {
					n.key.err = tt.err
					b.Signing = sdk.SignPreferred
				}
			})
			a, b := m.nodes[0], m.nodes[1]
			resp, err := post(t, a, b, "x")
			if err != nil || signer.RefusalOf(resp) != signer.TagSignatureMissing {
				t.Errorf("a strict peer answered %v, %v; want signature_missing", signer.RefusalOf(resp), err)
			}
			if st := a.fed.Status(); st.Unsigned == "" || st.SigningKey != "" {
				t.Errorf("status says %q, %q; want why it is unsigned", st.Unsigned, st.SigningKey)
			}
			if resp, err := post(t, b, a, "x"); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("signed to the unsigned node: %v", err)
			}
			if tt.loud {
				a.waitEvent(t, "unsigned", func(e sdk.Event) bool { return e.Kind == sdk.EventUnsigned })
			}
		})
	}
}

func TestSignRequiredFailsBuildWithoutAKey(t *testing.T) {
	ca := sdktest.NewCA(t)
	_, err := sdk.Builder{
		Trust:    &source{roots: certs(ca.Certificate)},
		Identity: &source{cert: ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}}).TLS},
		Key:      &source{err: sdk.ErrPermission},
		Peers:    []sdk.Peer{{URL: "https://b.example"}},
		Quorum:   quorum.Policy{Writes: 2},
	}.Build(t.Context())
	if !errors.Is(err, sdk.ErrPermission) || !strings.Contains(err.Error(), "Key") {
		t.Errorf("got %v, want the key's failure", err)
	}
}

func TestAPIKeyGoesToPeersOnly(t *testing.T) {
	m := newMesh(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Header.Get(sdk.HeaderAPIKey))
	}), func(n *node, b *sdk.Builder) {
		b.APIKey = func(_ context.Context, p sdk.Peer) (string, error) { return "key-for-" + p.Name, nil }
	})
	resp, err := post(t, m.nodes[0], m.nodes[1], "x")
	if err != nil || resp.Header.Get("X-Got") != "key-for-b" {
		t.Errorf("got %v, %v; want key-for-b", resp, err)
	}
}

func TestNothingWorksAfterClose(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	fed := m.nodes[0].fed
	if err := fed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fed.Close(); err != nil {
		t.Fatal("second close:", err)
	}
	if _, err := post(t, m.nodes[0], m.nodes[1], "x"); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("request: %v, want ErrClosed", err)
	}
	for name, err := range map[string]error{
		"Refresh":  fed.Refresh(t.Context()),
		"SetPeers": fed.SetPeers(t.Context(), fed.Peers()),
		"Distrust": fed.Distrust(),
		"Confirm":  fed.Confirm(t.Context(), ""),
		"Check":    fed.Check(t.Context()).Err(),
	} {
		if !errors.Is(err, sdk.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	if !fed.Status().Closed {
		t.Error("status does not say closed")
	}
}

// A slowTrust answers when it is told to, and says when its Watch has ended.
type slowTrust struct {
	roots   []*x509.Certificate
	asked   chan struct{}
	answer  chan struct{}
	watched chan struct{}
}

func (s *slowTrust) TrustBundle(context.Context) (*sdk.TrustBundle, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.answer
	return &sdk.TrustBundle{Roots: s.roots}, nil
}

func (s *slowTrust) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	close(s.watched)
	return ctx.Err()
}

func TestPeersThatAreSetDuringACloseLeaveNothingBehind(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	fed := m.nodes[0].fed
	trust := &slowTrust{
		roots: certs(m.ca.Certificate), asked: make(chan struct{}, 1), answer: make(chan struct{}), watched: make(chan struct{}),
	}
	peers := fed.Peers()
	peers[0].Trust = trust
	set := make(chan error, 1)
	go func() { set <- fed.SetPeers(t.Context(), peers) }()
	<-trust.asked
	if err := fed.Close(); err != nil {
		t.Fatal(err)
	}
	close(trust.answer)
	if err := <-set; !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	select {
	case <-trust.watched:
	case <-time.After(10 * time.Second):
		t.Error("the provider is watched after Close")
	}
}
