package stepca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// startCA starts a real step-ca that ends with the test.
func startCA(t testing.TB, o stepcatest.Options) *stepcatest.CA {
	t.Helper()
	ca, err := stepcatest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	return ca
}

// newClient makes a client of ca that ends with the test.
func newClient(t testing.TB, ca *stepcatest.CA, edit ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{URL: ca.URL, Fingerprint: ca.Fingerprint(), Timeout: 10 * time.Second, Logger: testLog(t)}
	for _, e := range edit {
		e(&cfg)
	}
	c := New(cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

func withState(dir string) func(*Config) { return func(c *Config) { c.StateDir = dir } }

func testLog(t testing.TB) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: &testWriter{t: t}, Level: hclog.Debug, DisableTime: true})
}

type testWriter struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(string(b), stepcatest.Password) || strings.Contains(string(b), "PRIVATE KEY") {
		w.t.Error("a secret was logged")
	}
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func password(context.Context) ([]byte, error) { return []byte(stepcatest.Password), nil }

func nodes() JWK { return JWK{Provisioner: stepcatest.Nodes, Password: password} }

// mustIdentity pulls an identity that has to be good.
func mustIdentity(t testing.TB, p sdk.IdentityProvider) *sdk.Identity {
	t.Helper()
	id, err := p.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustTrust(t testing.TB, p sdk.TrustProvider) *sdk.TrustBundle {
	t.Helper()
	b, err := p.TrustBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stopClock stops the clock of c until it is set, so that a life of seconds is long enough for a machine of any speed.
func stopClock(c *Client) (set func(time.Time)) {
	var at atomic.Pointer[time.Time]
	set = func(t time.Time) { at.Store(&t) }
	set(time.Now())
	c.now = func() time.Time { return *at.Load() }
	return set
}

// sleepPast waits until t is past by the clock of the CA, which counts whole seconds, and returns when that is.
func sleepPast(t time.Time) time.Time {
	past := t.Add(1100 * time.Millisecond)
	time.Sleep(time.Until(past))
	return past
}

// makeDue makes the certificate of i look as if two thirds of its life were over.
func (i *Identity) makeDue() {
	i.flow.gate <- struct{}{}
	defer func() { <-i.flow.gate }()
	i.flow.due = time.Unix(1, 0)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type x509Certificate = x509.Certificate

func leafIssuedUnder(t testing.TB, id *sdk.Identity, root *sdktest.CA) bool {
	t.Helper()
	last, err := x509.ParseCertificate(id.Certificate.Certificate[len(id.Certificate.Certificate)-1])
	must(t, err)
	return last.CheckSignatureFrom(root.Certificate) == nil
}

func sdkFingerprint(ca *sdktest.CA) string { return fingerprintOf(ca.Certificate) }

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
