package vault_test

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/vaulttest"
	"github.com/alphaonedev/federation/providers/vault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestOutagesAreUnavailableAndEndByThemselves(t *testing.T) {
	r := newRig(t)
	set := pull(t, r.client.Key(keyOptions()))
	pulls := r.pulls(r.client)
	pulls["sign"] = func(t *testing.T) error { _, err := set.Active.Sign(t.Context(), []byte("m")); return err }
	short := r.connect(t, func(cfg *vault.Config) { cfg.Timeout = time.Second }) // a busy machine must manage to recover within it
	faults := map[string]struct {
		begin, end func()
		want       error
		words      string
		pulls      map[string]func(*testing.T) error
	}{
		"sealed":       {func() { r.Seal(t) }, func() { r.Unseal(t) }, sdk.ErrUnavailable, "sealed", pulls},
		"killed":       {r.Kill, func() { r.Restart(t) }, sdk.ErrUnavailable, "502", pulls},
		"429":          {func() { r.proxy.Set(vaulttest.Status("", 429, "3", "quota exceeded")) }, nil, sdk.ErrUnavailable, "quota", pulls},
		"standby":      {func() { r.proxy.Set(vaulttest.Status("", 473, "", "performance standby")) }, nil, sdk.ErrUnavailable, "473", pulls},
		"500":          {func() { r.proxy.Set(vaulttest.Status("", 500, "", "internal error")) }, nil, sdk.ErrUnavailable, "internal", pulls},
		"503":          {func() { r.proxy.Set(vaulttest.Status("", 503, "", "overloaded")) }, nil, sdk.ErrUnavailable, "overloaded", pulls},
		"half":         {func() { r.proxy.Set(vaulttest.Half) }, nil, sdk.ErrUnavailable, "EOF", pulls},
		"dropped":      {func() { r.proxy.Set(vaulttest.Drop) }, nil, sdk.ErrUnavailable, "", pulls},
		"nonsense":     {func() { r.proxy.Set(vaulttest.Garbage) }, nil, sdk.ErrMaterial, "", pulls},
		"nothing":      {func() { r.proxy.Set(vaulttest.Nothing) }, nil, sdk.ErrUnavailable, "", r.pulls(short)},
		"endless body": {func() { r.proxy.Set(endless) }, nil, sdk.ErrMaterial, "16 MiB", r.pulls(r.client)},
	}
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		f := faults[name]
		t.Run(name, func(t *testing.T) {
			defer r.proxy.Set(nil) // where it fails the next are not to fail with it
			f.begin()
			for part, pull := range f.pulls {
				if part == "identity" && r.proxy.Count("pki/sign") > 0 && name != "nothing" && name != "endless body" {
					continue // has its certificate, and needs nothing more
				}
				err := pull(t)
				pe := wantError(t, err, f.want, f.words)
				if name == "429" && (pe.RetryAfter <= 0 || pe.RetryAfter > 3*time.Second) {
					t.Errorf("%s: RetryAfter %v, want up to Vault's 3s", part, pe.RetryAfter)
				}
			}
			if r.proxy.Set(nil); f.end != nil {
				f.end()
			}
			within(t, "the end of the outage", func() bool {
				for _, pull := range f.pulls {
					if err := pull(t); err != nil {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestACertificateNeedsNoVaultUntilItIsDue(t *testing.T) {
	r := newRig(t)
	identity := r.client.Identity(identityOptions())
	first, err := identity.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Kill()
	again, err := identity.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !first.Certificate.Leaf.Equal(again.Certificate.Leaf) {
		t.Error("another certificate without Vault")
	}
}

func TestConnectionsThatNoRetryCanMake(t *testing.T) {
	r := newRig(t)
	other := sdktest.NewCA(t)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
			_ = c.Close()
		}
	}()
	for name, test := range map[string]struct {
		change func(*vault.Config)
		want   error
		words  string
	}{
		"another CA":      {func(c *vault.Config) { c.Roots = []*x509.Certificate{other.Certificate} }, sdk.ErrConfig, "unknown authority"},
		"another name":    {func(c *vault.Config) { c.ServerName = "elsewhere.example" }, sdk.ErrConfig, "elsewhere.example"},
		"plain HTTP":      {func(c *vault.Config) { c.Address = "https://" + plain.Addr().String() }, sdk.ErrConfig, "HTTP"},
		"nobody listens":  {func(c *vault.Config) { c.Address = "https://127.0.0.1:1" }, sdk.ErrUnavailable, "refused"},
		"no such host":    {func(c *vault.Config) { c.Address = "https://vault.invalid" }, sdk.ErrUnavailable, "vault.invalid"},
		"roots not there": {func(c *vault.Config) { c.Roots, c.RootsFile = nil, "/nonexistent/ca.pem" }, sdk.ErrConfig, "RootsFile"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pull := range r.pulls(r.connect(t, test.change)) {
				wantError(t, pull(t), test.want, test.words)
			}
		})
	}
}

func TestRootsFileIsReadAgainWhenItChanges(t *testing.T) {
	r := newRig(t)
	path := writeFile(t, filepath.Join(t.TempDir(), "ca.pem"), string(sdktest.NewCA(t).PEM()))
	c := r.connect(t, func(c *vault.Config) { c.Roots, c.RootsFile = nil, path })
	trust := c.Trust(vault.TrustOptions{})
	_, err := trust.TrustBundle(t.Context())
	wantError(t, err, sdk.ErrConfig, "unknown authority")
	writeFile(t, path, string(sdktest.CertPEM(r.Roots...))+"\n")
	if _, err := trust.TrustBundle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.TrustBundle(t.Context()); err != nil {
		t.Errorf("the last roots are gone with their file: %v", err)
	}
}

// The server of the tests has no namespaces and takes no notice of the header, so the answers here are those
// of one that has.
func TestNamespaceThatDoesNotExist(t *testing.T) {
	r := newRig(t)
	r.proxy.Set(func(w httpWriter, req *httpRequest) bool {
		if req.Header.Get("X-Vault-Namespace") == "team-x" {
			return vaulttest.Status("", 404, "", "namespace not found")(w, req)
		}
		return false
	})
	for _, pull := range r.pulls(r.connect(t, func(c *vault.Config) { c.Namespace = "team-x" })) {
		wantError(t, pull(t), sdk.ErrConfig, "namespace team-x")
	}
}

func TestLoginAndMountsMayBeInDifferentNamespaces(t *testing.T) {
	r := newRig(t)
	// The server of the tests has no namespaces: what is sent is what counts.
	seen := map[string]string{}
	r.proxy.Set(func(w httpWriter, req *httpRequest) bool {
		seen[strings.TrimPrefix(req.URL.Path, "/v1/")] = req.Header.Get("X-Vault-Namespace")
		req.Header.Del("X-Vault-Namespace")
		return false
	})
	c := r.connect(t, func(c *vault.Config) { c.Namespace, c.LoginNamespace = "/team-a/", "root" })
	o := identityOptions()
	o.Namespace = "team-b/pki"
	if _, err := c.Identity(o).Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Key(keyOptions()).SigningKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"auth/approle/login": "", "pki/sign/node": "team-b/pki", "transit/keys/node-a": "team-a"}
	if !maps.Equal(seen, want) {
		t.Errorf("namespaces %q, want %q", seen, want)
	}
}

func TestPullsHonourTheirContext(t *testing.T) {
	r := newRig(t)
	r.proxy.Set(vaulttest.Nothing)
	trust, identity, key := r.client.Trust(vault.TrustOptions{}), r.client.Identity(identityOptions()), r.client.Key(keyOptions())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for name, pull := range map[string]func() error{
		"trust":    func() error { _, err := trust.TrustBundle(ctx); return err },
		"identity": func() error { _, err := identity.Identity(ctx); return err },
		"key":      func() error { _, err := key.SigningKeys(ctx); return err },
	} {
		if err := pull(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v, want that of the context", name, err)
		}
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	ok := vault.Config{Address: "https://vault.example:8200"}
	for name, test := range map[string]struct {
		v     sdk.Validator
		words []string
	}{
		"nothing":           {vault.New(vault.Config{}).Trust(vault.TrustOptions{}), []string{"Address"}},
		"plaintext":         {vault.New(vault.Config{Address: "http://vault.example"}).Trust(vault.TrustOptions{}), []string{"Address", "AllowPlaintext"}},
		"password in URL":   {vault.New(vault.Config{Address: "https://u:secret@vault.example"}), []string{"Address", "user information"}},
		"not a URL":         {vault.New(vault.Config{Address: "vault.example:8200"}), []string{"Address"}},
		"two sets of roots": {vault.New(vault.Config{Address: ok.Address, Roots: []*x509.Certificate{sdktest.NewCA(t).Certificate}, RootsFile: "x"}), []string{"RootsFile"}},
		"empty token":       {vault.New(vault.Config{Address: ok.Address, Auth: &vault.Token{}}), []string{"Auth", "Token.Value"}},
		"empty token file":  {vault.New(vault.Config{Address: ok.Address, Auth: &vault.TokenFile{}}), []string{"TokenFile.Path"}},
		"empty AppRole":     {vault.New(vault.Config{Address: ok.Address, Auth: &vault.AppRole{Wrapped: true}}), []string{"RoleID", "Wrapped"}},
		"two secret-ids":    {vault.New(vault.Config{Address: ok.Address, Auth: &vault.AppRole{RoleID: "r", SecretID: "s", SecretIDFile: "f"}}), []string{"more than one"}},
		"empty JWT":         {vault.New(vault.Config{Address: ok.Address, Auth: &vault.JWT{}}), []string{"JWT"}},
		"empty Kubernetes":  {vault.New(vault.Config{Address: ok.Address, Auth: &vault.Kubernetes{}}), []string{"Kubernetes.Role"}},
		"no certificate":    {vault.New(vault.Config{Address: ok.Address, Auth: &vault.Cert{}}), []string{"ClientCertificate"}},
		"mount climbs":      {vault.New(ok).Trust(vault.TrustOptions{Mounts: []string{"pki", "../sys"}}), []string{"Mounts[1]"}},
		"issuer climbs":     {vault.New(ok).Trust(vault.TrustOptions{Issuers: []string{"a/b"}}), []string{"Issuers[0]"}},
		"no role, no name":  {vault.New(ok).Identity(vault.IdentityOptions{}), []string{"Role", "DNS"}},
		"relative URI":      {vault.New(ok).Identity(vault.IdentityOptions{Role: "r", URIs: []string{"a"}}), []string{"URIs[0]"}},
		"tiny TTL":          {vault.New(ok).Identity(vault.IdentityOptions{Role: "r", DNS: []string{"a"}, TTL: 1}), []string{"TTL"}},
		"unknown kind":      {vault.New(ok).Identity(vault.IdentityOptions{Role: "r", DNS: []string{"a"}, KeyType: 99}), []string{"KeyType"}},
		"no key name":       {vault.New(ok).Key(vault.KeyOptions{}), []string{"Name"}},
		"key name climbs":   {vault.New(ok).Key(vault.KeyOptions{Name: "..", Mount: "a//b"}), []string{"Name", "Mount"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.v.Validate()
			if !errors.Is(err, sdk.ErrConfig) {
				t.Fatalf("error %v does not wrap ErrConfig", err)
			}
			for _, w := range test.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "secret@") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
	for name, v := range map[string]sdk.Validator{
		"https":    vault.New(ok),
		"socket":   vault.New(vault.Config{Address: "unix:///run/agent.sock"}),
		"loopback": vault.New(vault.Config{Address: "http://127.0.0.1:8200"}),
		"asked":    vault.New(vault.Config{Address: "http://vault.example", AllowPlaintext: true}),
	} {
		if err := v.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigFromKnowsVaultsVariables(t *testing.T) {
	env := map[string]string{
		"VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": "hvs.x", "VAULT_NAMESPACE": "team",
		"VAULT_CACERT": "ca.pem", "VAULT_TLS_SERVER_NAME": "name", "VAULT_CLIENT_TIMEOUT": "3s",
	}
	c, err := vault.ConfigFrom(func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	token, _ := c.Auth.(*vault.Token)
	if c.Address != env["VAULT_ADDR"] || token == nil || token.Value != "hvs.x" || c.Namespace != "team" ||
		c.RootsFile != "ca.pem" || c.ServerName != "name" || c.Timeout != 3*time.Second {
		t.Errorf("config %+v", c)
	}
	env["VAULT_CLIENT_TIMEOUT"] = "soon"
	if _, err := vault.ConfigFrom(func(k string) string { return env[k] }); !errors.Is(err, sdk.ErrConfig) {
		t.Errorf("error %v for a timeout that does not parse", err)
	}
}

func TestAgentOnALocalSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: no such sockets here")
	}
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	agent := &httputil.ReverseProxy{Transport: r.HTTPClient().Transport, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	srv := &http.Server{Handler: agent}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	for part, pull := range r.pulls(r.connect(t, func(c *vault.Config) { c.Address, c.Roots = "unix://"+path, nil })) {
		if err := pull(t); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}
