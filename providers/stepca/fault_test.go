package stepca

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/internal/testport"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestBadInputIsToldApart(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	other := startCA(t, stepcatest.Options{Name: "other"})
	must(t, other.AddJWK("gone"))
	web := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { silent.Close() })
	closed, err := testport.Pick()
	must(t, err)

	at := func(url string) func(*Config) { return func(c *Config) { c.URL = url } }
	used := mintToken(t, ca, stepcatest.Token{Subject: "a.example"})
	mustIdentity(t, newClient(t, ca).Identity(IdentityConfig{Enrolment: used}))
	node := func(e Enrolment) IdentityConfig { return IdentityConfig{Names: []string{"a.example"}, Enrolment: e} }
	wrong := func(context.Context) ([]byte, error) { return []byte("wrong"), nil }
	past := time.Now().Add(-time.Hour)

	for name, tc := range map[string]struct {
		client func(*Config)
		cfg    IdentityConfig
		want   error
		says   []string
	}{
		"fingerprint of another CA": {
			client: func(c *Config) { c.Fingerprint = other.Fingerprint() },
			cfg:    node(nodes()), want: sdk.ErrConfig, says: []string{"no root with the Fingerprint", "step certificate fingerprint"},
		},
		"fingerprint that is none": {
			client: func(c *Config) { c.Fingerprint = "abc" },
			cfg:    node(nodes()), want: sdk.ErrConfig, says: []string{"Fingerprint", "64 digits"},
		},
		"URL of a web server":      {client: at(web.URL), cfg: node(nodes()), want: sdk.ErrConfig, says: []string{"does not answer like a step-ca", "URL"}},
		"URL of a server of HTTP":  {client: at(strings.Replace(plain.URL, "http:", "https:", 1)), cfg: node(nodes()), want: sdk.ErrConfig, says: []string{"does not speak TLS"}},
		"URL where nobody listens": {client: at("https://" + closed), cfg: node(nodes()), want: sdk.ErrUnavailable, says: []string{"refused"}},
		"URL where nobody answers": {client: func(c *Config) { c.URL, c.Timeout = "https://"+silent.Addr().String(), 300*time.Millisecond }, cfg: node(nodes()), want: sdk.ErrUnavailable, says: []string{"no answer"}},
		"URL with another scheme":  {client: at("http://localhost"), cfg: node(nodes()), want: sdk.ErrConfig, says: []string{"URL", "https"}},
		"URL by a name that is not the CA's": {
			client: func(c *Config) {
				c.URL = "https://alias.example"
				c.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, ca.Addr)
				}
			},
			cfg: node(nodes()), want: sdk.ErrConfig, says: []string{"another name", "dnsNames"},
		},
		"provisioner that is not there": {cfg: node(JWK{Provisioner: "nobody", Password: password}), want: sdk.ErrPermission, says: []string{`"nobody"`, stepcatest.Nodes}},
		"provisioner of another type":   {cfg: node(JWK{Provisioner: stepcatest.Certs, Password: password}), want: sdk.ErrPermission, says: []string{"X5C, not JWK"}},
		"wrong password":                {cfg: node(JWK{Provisioner: stepcatest.Nodes, Password: wrong}), want: sdk.ErrPermission, says: []string{"password does not open"}},
		"password that cannot be read": {
			cfg:  node(JWK{Provisioner: stepcatest.Nodes, Password: func(context.Context) ([]byte, error) { return nil, errors.New("vault is sealed") }}),
			want: sdk.ErrUnavailable, says: []string{"vault is sealed"},
		},
		"key that is not of the provisioner": {
			cfg:  node(JWK{Provisioner: stepcatest.Nodes, KeyID: "x", Key: sdktest.NewKey(t, sdktest.ECDSAP256)}),
			want: sdk.ErrPermission, says: []string{`no key with the id "x"`},
		},
		"X5C provisioner that is not there": {
			cfg:  node(X5C{Provisioner: "nobody", From: newClient(t, ca).Identity(node(nodes()))}),
			want: sdk.ErrPermission, says: []string{`"nobody"`, "no X5C provisioner"},
		},
		"token used twice":       {cfg: IdentityConfig{Enrolment: used}, want: sdk.ErrPermission, says: []string{"used before", "step ca token"}},
		"token past its time":    {cfg: IdentityConfig{Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "a.example", From: past})}, want: sdk.ErrExpired, says: []string{"token expired"}},
		"token before its time":  {cfg: IdentityConfig{Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "a.example", From: time.Now().Add(time.Hour)})}, want: sdk.ErrPermission, says: []string{"valid from", "clocks"}},
		"token for another name": {cfg: node(mintToken(t, ca, stepcatest.Token{Subject: "b.example"})), want: sdk.ErrConfig, says: []string{"b.example", "a.example"}},
		"token with SANs that differ": {
			cfg:  node(mintToken(t, ca, stepcatest.Token{Subject: "a.example", SANs: []string{"a.example", "10.0.0.1"}})),
			want: sdk.ErrConfig, says: []string{"10.0.0.1"},
		},
		"token for another CA": {cfg: node(mintToken(t, other, stepcatest.Token{Subject: "a.example"})), want: sdk.ErrConfig, says: []string{"for the CA with the root", other.Fingerprint()}},
		"token without fingerprint for another CA": {
			cfg:  node(mintToken(t, other, stepcatest.Token{Subject: "a.example", SHA: ca.Fingerprint(), Audience: "https://elsewhere.example/1.0/sign"})),
			want: sdk.ErrPermission, says: []string{"elsewhere.example"},
		},
		"token of a provisioner that is gone": {
			cfg:  IdentityConfig{Enrolment: mintToken(t, other, stepcatest.Token{Provisioner: "gone", Subject: "a.example", SHA: ca.Fingerprint(), Audience: ca.URL + "/1.0/sign"})},
			want: sdk.ErrPermission, says: []string{"no JWK provisioner", "gone"},
		},
		"token that is none":      {cfg: node(OneTimeToken("nonsense")), want: sdk.ErrConfig, says: []string{"not a JWT"}},
		"token source that fails": {cfg: node(TokenFunc(func(context.Context, TokenRequest) (string, error) { return "", errors.New("no login") })), want: sdk.ErrUnavailable, says: []string{"no login"}},
		"token source with one that is over": {
			cfg: node(TokenFunc(func(context.Context, TokenRequest) (string, error) {
				return ca.Token(stepcatest.Token{Subject: "a.example", From: past})
			})),
			want: sdk.ErrExpired, says: []string{"token expired", "TokenFunc"},
		},
		"lifetime beyond the limit": {cfg: IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes(), Lifetime: 1000 * time.Hour}, want: sdk.ErrPermission, says: []string{"1000h"}},
		"name that is none":         {cfg: IdentityConfig{Names: []string{"a b"}, Enrolment: nodes()}, want: sdk.ErrConfig, says: []string{"Names[0]"}},
		"no enrolment":              {cfg: IdentityConfig{Names: []string{"a.example"}}, want: sdk.ErrConfig, says: []string{"Enrolment"}},
	} {
		t.Run(name, func(t *testing.T) {
			var edits []func(*Config)
			if tc.client != nil {
				edits = append(edits, tc.client)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := newClient(t, ca, edits...).Identity(tc.cfg).Identity(ctx)
			wantError(t, err, tc.want, tc.says...)
			for _, other := range []error{sdk.ErrConfig, sdk.ErrPermission, sdk.ErrExpired, sdk.ErrMaterial, sdk.ErrUnavailable} {
				if other != tc.want && errors.Is(err, other) {
					t.Errorf("the error means %q too: %v", other, err)
				}
			}
		})
	}
}

func TestAllConfigurationErrorsComeAtOnce(t *testing.T) {
	err := New(Config{URL: "ftp://x", Fingerprint: "1", Timeout: -1}).Identity(IdentityConfig{
		Names: []string{"", "a b"}, Enrolment: JWK{}, Lifetime: -1, StateName: "../x",
	}).Validate()
	wantError(t, err, sdk.ErrConfig, "URL", "Fingerprint", "Timeout", "Names[0]", "Names[1]", "Provisioner", "Password", "Lifetime", "StateName")
}

func TestDownAtStart(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	must(t, ca.Stop())
	c := newClient(t, ca)
	i := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	_, err := i.Identity(t.Context())
	wantError(t, err, sdk.ErrUnavailable, "refused")
	_, err = c.Trust(TrustConfig{}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrUnavailable, "refused")
	must(t, ca.Start())
	mustIdentity(t, i)
}

func TestDownAtRenewalIsAnErrorAndRecoversWithoutEnrolling(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	i := newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	first := mustIdentity(t, i)
	must(t, ca.Stop())
	if again := mustIdentity(t, i); again.Certificate.Leaf != first.Certificate.Leaf {
		t.Error("a pull that is not due contacts the CA")
	}
	i.makeDue()
	_, err := i.Identity(t.Context())
	wantError(t, err, sdk.ErrUnavailable)
	must(t, ca.Start())
	if second := mustIdentity(t, i); second.Certificate.Leaf.Equal(first.Certificate.Leaf) {
		t.Error("not renewed")
	}
	if n := ca.Requests.Count("POST", "/sign"); n != 1 {
		t.Errorf("%d enrolments, want 1", n)
	}
}

func TestNewIntermediate(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	i := newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	mustIdentity(t, i)
	must(t, ca.Restart(func() { ca.Issuer = ca.Below(ca.Roots[0], 3) }))
	i.makeDue()
	id := mustIdentity(t, i)
	verify(t, id.Certificate, ca)
	if n := len(id.Certificate.Certificate); n != 4 {
		t.Errorf("the chain has %d certificates, want 4", n)
	}
	if ca.Requests.Count("POST", "/sign") != 1 {
		t.Error("enrolled again")
	}
}

func TestNewRoot(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	old := ca.Roots[0]
	c := newClient(t, ca)
	trust := c.Trust(TrustConfig{})
	i := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	first := mustIdentity(t, i)
	mustTrust(t, trust)
	root := sdktest.NewCA(t, sdktest.CAOptions{Name: "new root"})

	// Overlap: both roots, and the CA issues and answers under the new one.
	must(t, ca.Restart(func() { ca.Roots = append(ca.Roots, root) }))
	if b := mustTrust(t, trust); len(b.Roots) != 2 {
		t.Fatalf("%d roots during the overlap, want 2", len(b.Roots))
	}
	must(t, ca.Restart(func() { ca.Issuer = ca.Below(root, 2) }))
	i.makeDue()
	second := mustIdentity(t, i)
	if second.Certificate.Leaf.Equal(first.Certificate.Leaf) || !leafIssuedUnder(t, second, root) {
		t.Error("the renewed certificate is not under the new root")
	}

	// Without the old one.
	must(t, ca.Restart(func() { ca.Roots = []*sdktest.CA{root} }))
	if b := mustTrust(t, trust); len(b.Roots) != 1 || !b.Roots[0].Equal(root.Certificate) {
		t.Error("the old root is still there")
	}
	i.makeDue()
	mustIdentity(t, i)
	if ca.Requests.Count("POST", "/sign") != 1 {
		t.Error("enrolled again")
	}

	// A node that starts now with the old fingerprint is told.
	late := New(Config{URL: ca.URL, Fingerprint: sdkFingerprint(old)})
	t.Cleanup(func() { late.Close() })
	_, err := late.Trust(TrustConfig{}).TrustBundle(t.Context())
	wantError(t, err, sdk.ErrConfig, "Fingerprint")
}

// The CA refuses a certificate that it does not know in the handshake, which is no outage.
func TestACertificateThatTheCANoLongerTakesIsReplaced(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after func(ca *stepcatest.CA, root *sdktest.CA)
		life          time.Duration
	}{
		"of a root that has gone": {
			before: func(ca *stepcatest.CA, root *sdktest.CA) { ca.Roots = append(ca.Roots, root) },
			after: func(ca *stepcatest.CA, root *sdktest.CA) {
				ca.Roots, ca.Issuer = []*sdktest.CA{root}, ca.Below(root, 1)
			},
		},
		"that ended by the CA's clock": {life: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			ca := startCA(t, stepcatest.Options{Backdate: time.Minute})
			c := newClient(t, ca)
			trust := c.Trust(TrustConfig{})
			if tc.life > 0 {
				stopClock(c) // and so ours is behind in the end
			}
			i := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes(), Lifetime: tc.life})
			first := mustIdentity(t, i).Certificate.Leaf
			if tc.life > 0 {
				sleepPast(first.NotAfter)
			}
			root := sdktest.NewCA(t, sdktest.CAOptions{Name: "new root"})
			for _, change := range []func(*stepcatest.CA, *sdktest.CA){tc.before, tc.after} {
				if change != nil {
					must(t, ca.Restart(func() { change(ca, root) }))
				}
				mustTrust(t, trust)
			}
			i.makeDue()
			id := mustIdentity(t, i)
			verify(t, id.Certificate, ca)
			if id.Certificate.Leaf.Equal(first) {
				t.Error("the certificate was not replaced")
			}
		})
	}
}

func TestNewRootWithoutOverlapIsRefusedWithTheCure(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	c := newClient(t, ca)
	trust := c.Trust(TrustConfig{})
	i := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	mustIdentity(t, i)
	mustTrust(t, trust)
	root := sdktest.NewCA(t, sdktest.CAOptions{Name: "new root"})
	must(t, ca.Restart(func() { ca.Roots, ca.Issuer = []*sdktest.CA{root}, ca.Below(root, 1) }))
	_, err := trust.TrustBundle(t.Context())
	wantError(t, err, sdk.ErrMaterial, "new root", "out of band", "Fingerprint")
	i.makeDue()
	_, err = i.Identity(t.Context())
	wantError(t, err, sdk.ErrMaterial, "Fingerprint")
}

func TestClientWhoseRootsMovedOnFallsBackOnThePinnedOne(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	c := newClient(t, ca)
	mustTrust(t, c.Trust(TrustConfig{}))
	root := sdktest.NewCA(t, sdktest.CAOptions{Name: "new root"})
	_, err := c.setAnchors([]*x509Certificate{root.Certificate}) // as if the CA had published the new root alone, too early
	must(t, err)
	mustIdentity(t, c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}))
}

func TestRemovedProvisioner(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	c := newClient(t, ca)
	i := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	x := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: X5C{Provisioner: stepcatest.Certs, From: i}, StateName: "x"})
	first := mustIdentity(t, i)
	mustIdentity(t, x)
	must(t, ca.Restart(func() { ca.RemoveProvisioner(stepcatest.Nodes) }))
	i.makeDue()
	_, err := i.Identity(t.Context())
	wantError(t, err, sdk.ErrPermission, "renewing", `its provisioner "nodes" was removed`, "enrolling again", "no provisioner", stepcatest.Nodes)
	if !time.Now().Before(first.Certificate.Leaf.NotAfter) {
		t.Error("the last good certificate is over")
	}
}

func TestClockSkewIsNamed(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	for name, tc := range map[string]struct {
		skew time.Duration
		want error
		says string
	}{
		"ours ahead, certificate still young enough": {10 * time.Hour, nil, ""},
		"ours ahead past the certificate":            {30 * time.Hour, sdk.ErrExpired, "behind ours"},
		"ours behind":                                {-10 * time.Minute, sdk.ErrMaterial, "ahead of ours"},
		"a minute is nothing":                        {30 * time.Second, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, ca)
			c.now = func() time.Time { return time.Now().Add(tc.skew) }
			_, err := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}).Identity(t.Context())
			if tc.want == nil {
				must(t, err)
				return
			}
			wantError(t, err, tc.want, tc.says, "clocks")
		})
	}
}

// A token enrols once. What it got must not be lost because a clock was wrong at that moment.
func TestWhatAOneTimeTokenGotIsUsedOnceTheClockIsRight(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	c := newClient(t, ca)
	i := c.Identity(IdentityConfig{Enrolment: mintToken(t, ca, stepcatest.Token{Subject: "a.example"})})
	c.now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	_, err := i.Identity(t.Context())
	wantError(t, err, sdk.ErrMaterial, "ahead of ours")
	c.now = time.Now
	verify(t, mustIdentity(t, i).Certificate, ca)
	if n := ca.Requests.Count("POST", "/sign"); n != 1 {
		t.Errorf("%d enrolments, want 1", n)
	}
}

func TestClosedClient(t *testing.T) {
	ca := startCA(t, stepcatest.Options{})
	c := newClient(t, ca)
	i, tr := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}), c.Trust(TrustConfig{})
	mustIdentity(t, i)
	must(t, c.Close())
	must(t, c.Close())
	_, err := i.Identity(t.Context())
	wantError(t, err, sdk.ErrClosed)
	_, err = tr.TrustBundle(t.Context())
	wantError(t, err, sdk.ErrClosed)
}

func TestBusyCAIsAskedAgainWhenItWantsTo(t *testing.T) {
	busy := false
	ca := startCA(t, stepcatest.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if busy {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	i := newClient(t, ca).Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	mustIdentity(t, i)
	i.makeDue()
	busy = true
	_, err := i.Identity(t.Context())
	wantError(t, err, sdk.ErrUnavailable, "503")
	var pe *sdk.ProviderError
	if !errors.As(err, &pe) || pe.RetryAfter != 7*time.Second || pe.Role != sdk.RoleIdentity {
		t.Errorf("the provider error is %+v, want RetryAfter 7 s", pe)
	}
}

func TestHostileAnswersAreBoundedAndRefused(t *testing.T) {
	var answer http.HandlerFunc
	ca := startCA(t, stepcatest.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if answer != nil && (r.URL.Path == "/sign" || r.URL.Path == "/roots") {
				answer(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	stranger := sdktest.NewCA(t, sdktest.CAOptions{Name: "stranger"}).Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
	for name, a := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
		},
		"no JSON":        func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"empty":          func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{}`)) },
		"nothing at all": func(w http.ResponseWriter, _ *http.Request) {},
		"stranger's certificate": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"crt":` + quote(string(stranger.CertPEM())) + `,"crts":[` + quote(string(stranger.CertPEM())) + `]}`))
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"crt":"`))
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			answer = a
			defer func() { answer = nil }()
			c := newClient(t, ca)
			if _, err := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}).Identity(t.Context()); err == nil {
				t.Error("the identity was accepted")
			} else {
				wantError(t, err, err)
			}
			if _, err := c.Trust(TrustConfig{}).TrustBundle(t.Context()); err == nil {
				t.Error("the roots were accepted")
			} else {
				wantError(t, err, err)
			}
		})
	}
}
