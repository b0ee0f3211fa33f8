package vault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/internal/rotate"
	"github.com/alphaonedev/federation/sdk"
)

// A countedVault answers like Vault and counts what it is asked in each second. Only the counts are of interest,
// so there is no check of tokens.
type countedVault struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	crl  []byte
	pub  string

	mu       sync.Mutex
	down     bool
	serial   int64
	bySecond map[int64]int
	byPath   map[string]int
}

func newCountedVault(t *testing.T) *countedVault {
	t.Helper()
	v := &countedVault{serial: 1}
	var err error
	if v.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &v.key.PublicKey, v.key)
	if err != nil {
		t.Fatal(err)
	}
	if v.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	v.crl, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().AddDate(1, 0, 0),
	}, v.root, v.key)
	if err != nil {
		t.Fatal(err)
	}
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v.pub = base64.StdEncoding.EncodeToString(pub)
	v.reset(false)
	return v
}

// reset starts counting anew.
func (v *countedVault) reset(down bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down, v.bySecond, v.byPath = down, map[int64]int{}, map[string]int{}
}

func (v *countedVault) RoundTrip(r *http.Request) (*http.Response, error) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	v.mu.Lock()
	v.bySecond[time.Now().Unix()]++
	v.byPath[path]++
	v.serial++
	down, serial := v.down, v.serial
	v.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	status, body := http.StatusOK, []byte(nil)
	data := func(m map[string]any) { body, _ = json.Marshal(map[string]any{"data": m}) }
	root := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.root.Raw}))
	switch {
	case path == "auth/approle/login", path == "auth/token/renew-self":
		body = fmt.Appendf(nil, `{"auth":{"client_token":"t","lease_duration":3600,"renewable":true}}`)
	case path == "pki/issuers":
		data(map[string]any{"keys": []string{"id-1"}})
	case strings.HasSuffix(path, "/json"):
		data(map[string]any{"certificate": root})
	case strings.HasSuffix(path, "/crl/der"):
		if body = v.crl; r.Header.Get("If-Modified-Since") != "" {
			status, body = http.StatusNotModified, nil
		}
	case path == "transit/keys/k":
		data(map[string]any{"type": "ed25519", "latest_version": 1, "keys": map[string]any{"1": map[string]any{"public_key": v.pub}}})
	case path == "pki/sign/node":
		leaf, err := v.sign(r.Body, serial)
		if err != nil {
			return nil, err
		}
		data(map[string]any{"certificate": leaf, "issuing_ca": root})
	default:
		status, body = http.StatusNotFound, []byte(`{"errors":[]}`)
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r, ContentLength: int64(len(body)),
	}, nil
}

func (v *countedVault) sign(body io.Reader, serial int64) (string, error) {
	var asked struct {
		CSR string `json:"csr"`
	}
	if err := json.NewDecoder(body).Decode(&asked); err != nil {
		return "", err
	}
	block, _ := pem.Decode([]byte(asked.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: csr.Subject, DNSNames: csr.DNSNames,
		NotBefore: time.Now().Add(-30 * time.Second), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, v.root, csr.PublicKey, v.key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), err
}

// node starts what a Federation does with three providers of one client: one engine for each.
func (v *countedVault) node(t *testing.T) (stop func()) {
	t.Helper()
	c := New(Config{
		Address: "https://vault.example", Auth: &AppRole{RoleID: "r", SecretID: "secret"},
		Logger: hclog.NewNullLogger(),
	})
	c.once.Do(func() {
		base, err := api.NewClient(&api.Config{Address: c.cfg.Address, HttpClient: &http.Client{Transport: v}})
		if err != nil {
			t.Fatal(err)
		}
		c.base = &template{c: base}
	})
	trust, identity, key := c.Trust(TrustOptions{}), c.Identity(IdentityOptions{Role: "node", DNS: []string{"a.example"}}), c.Key(KeyOptions{Name: "k"})
	after := func(d time.Duration) rotate.Life { return rotate.Life{Refresh: time.Now().Add(d)} }
	a := engine(t, rotate.Config[*sdk.TrustBundle]{
		Role: fault.RoleTrust, Poll: true, Pull: trust.TrustBundle, Life: func(b *sdk.TrustBundle) rotate.Life { return after(b.RefreshAfter) },
		Equal: func(*sdk.TrustBundle, *sdk.TrustBundle) bool { return true },
	})
	b := engine(t, rotate.Config[*sdk.Identity]{
		Role: fault.RoleIdentity, Pull: identity.Identity,
		Life: func(i *sdk.Identity) rotate.Life {
			l := after(i.RefreshAfter)
			l.Expires = i.Certificate.Leaf.NotAfter
			return l
		},
		Equal: func(a, b *sdk.Identity) bool { return a.Certificate.Leaf.Equal(b.Certificate.Leaf) },
	})
	k := engine(t, rotate.Config[*sdk.KeySet]{
		Role: fault.RoleKey, Poll: true, Pull: key.SigningKeys, Watch: key.Watch,
		Life:  func(k *sdk.KeySet) rotate.Life { return after(k.RefreshAfter) },
		Equal: func(*sdk.KeySet, *sdk.KeySet) bool { return true },
	})
	return func() { a(); b(); k(); c.close() }
}

func engine[T any](t *testing.T, cfg rotate.Config[T]) (stop func()) {
	t.Helper()
	cfg.ClockCheck = 10 * time.Minute // no machine sleeps here, and looking at the clock costs the simulation
	s, err := rotate.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.Close
}

func (v *countedVault) total() (n, most int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.bySecond {
		n += k
		most = max(most, k)
	}
	return n, most
}

// A thousand nodes take a minute of computing. With fewer than 500 there is no mean worth comparing seconds with.
var fleetSize = flag.Int("fleet", 20, "nodes of TestAFleetIsGentle")

// TestAFleetIsGentle starts a fleet in one second and counts its requests: in an hour from five minutes later, in the
// last ten minutes of an outage of an hour, and after it, when every token has expired. docs/benchmarks-vault.md has
// the figures of a thousand nodes.
func TestAFleetIsGentle(t *testing.T) {
	nodes := *fleetSize
	synctest.Test(t, func(t *testing.T) {
		v := newCountedVault(t)
		var stops []func()
		for range nodes {
			stops = append(stops, v.node(t))
		}
		sleep := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		sleep(5 * time.Minute)

		v.reset(false)
		sleep(time.Hour)
		n, most := v.total()
		t.Logf("at rest: %d requests an hour by %d nodes, %.1f a second, at most %d in one", n, nodes, float64(n)/3600, most)
		v.mu.Lock()
		for path, n := range v.byPath {
			t.Logf("  %6d %s", n, path)
		}
		v.mu.Unlock()
		if perNode := float64(n) / float64(nodes); perNode > 60 {
			t.Errorf("%.1f requests an hour by each node at rest, want at most 60", perNode)
		}
		// Of fewer than twelve a second, chance alone makes more than three times the mean in one of an hour's seconds.
		if nodes >= 500 && float64(most) > 3*max(float64(n)/3600, 12) {
			t.Errorf("%d requests in one second at rest, over three times the mean", most)
		}

		v.reset(true)
		sleep(50 * time.Minute)
		v.reset(true)
		sleep(10 * time.Minute)
		n, most = v.total()
		t.Logf("attempts in an outage: %d in its last 10 minutes, %.1f a second, at most %d in one", n, float64(n)/600, most)
		v.mu.Lock()
		for path, n := range v.byPath {
			t.Logf("  %6d %s", n, path)
		}
		v.mu.Unlock()
		if nodes >= 500 && float64(most) > 3*float64(n)/600 {
			t.Errorf("%d attempts in one second of the outage, over three times the mean", most)
		}

		v.reset(false)
		window := 0
		for ; ; window += 10 {
			sleep(10 * time.Second)
			v.mu.Lock()
			back := v.byPath["transit/keys/k"]
			v.mu.Unlock()
			if back >= nodes {
				window += 10
				break
			}
			if window > 600 {
				t.Fatalf("only %d nodes are back 10 minutes after the outage", back)
			}
		}
		n, most = v.total()
		t.Logf("after the outage: all nodes are back within %d s, with %d requests, %.1f a second, at most %d in one", window, n, float64(n)/float64(window), most)
		if nodes >= 500 && float64(most) > 3*float64(n)/float64(window) {
			t.Errorf("%d requests in one second after the outage, over three times the mean", most)
		}
		for _, stop := range stops {
			stop()
		}
	})
}
