package transport_test

import (
	"crypto/sha256"
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// One company's CA vouches for its own members and for nobody else's, whatever names it writes.
func TestOneScopeNeverVouchesForAnother(t *testing.T) {
	acme, evil := sdktest.NewCA(t, sdktest.CAOptions{Name: "acme"}), sdktest.NewCA(t, sdktest.CAOptions{Name: "evil"})
	ours := sdktest.NewCA(t, sdktest.CAOptions{Name: "ours"})
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	e := newNode(t, "e", transport.Options{}, nil)
	bp, ep := b.peer(), e.peer()
	bp.Trust, ep.Trust = trust(acme), trust(evil)
	update(t, a.tr, transport.Material{Identity: a.issue(t, ours), Peers: []transport.Peer{bp, ep}})
	serve := func(n *node, ca *sdktest.CA) {
		update(t, n.tr, transport.Material{Identity: n.issue(t, ca), Trust: trust(ours), Peers: []transport.Peer{a.peer()}})
	}
	serve(b, acme)
	serve(e, evil)
	mustSend(t, a, b, "x")
	mustSend(t, a, e, "x")
	// inbound: each with its own
	ap := a.peer()
	for _, n := range []*node{b, e} {
		update(t, n.tr, transport.Material{
			Identity: map[*node]*sdktest.CA{b: acme, e: evil}[n].Issue(t, sdktest.Leaf{DNS: []string{n.host()}}).TLS,
			Trust:    trust(ours), Peers: []transport.Peer{ap},
		})
		if h := mustSend(t, n, a, "x"); h.Get("X-Peer") != n.name {
			t.Errorf("%s was taken for %q", n.name, h.Get("X-Peer"))
		}
	}

	// evil's CA issues a certificate for b
	forged := evil.Issue(t, sdktest.Leaf{DNS: []string{b.host()}})
	update(t, b.tr, transport.Material{Identity: forged.TLS, Trust: trust(ours), Peers: []transport.Peer{ap}})
	_, err := a.tr.Dial(t.Context(), "b")
	wantKind(t, err, transport.KindRefused)
	_, _, err = send(t.Context(), b, a, "x")
	wantKind(t, err, transport.KindTLS)
	if n := a.tr.Stats().Refused; n == 0 {
		t.Error("a forged inbound certificate was not refused")
	}
}

func TestWhoIsAccepted(t *testing.T) {
	ca, other := sdktest.NewCA(t), sdktest.NewCA(t)
	key := sdktest.NewKey(t, sdktest.ECDSAP256)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(spki)
	only := func(u x509.ExtKeyUsage) []x509.ExtKeyUsage { return []x509.ExtKeyUsage{u} }
	for _, tc := range []struct {
		name     string
		leaf     sdktest.Leaf
		ca       *sdktest.CA
		peer     transport.Peer   // of the one judged, as the other configures it
		more     []transport.Peer // others configured beside it
		outbound bool             // accepted when dialled
		inbound  bool             // accepted when it dials
	}{
		{name: "server name", leaf: sdktest.Leaf{DNS: []string{"b.example"}}, outbound: true, inbound: true},
		{name: "server name in capitals", leaf: sdktest.Leaf{DNS: []string{"B.Example"}}, outbound: true, inbound: true},
		{name: "several names", leaf: sdktest.Leaf{DNS: []string{"x.example", "b.example"}}, outbound: true, inbound: true},
		{name: "another name", leaf: sdktest.Leaf{DNS: []string{"c.example"}}},
		{name: "common name only", leaf: sdktest.Leaf{CommonName: "b.example"}},
		{name: "a wildcard names nobody inbound", leaf: sdktest.Leaf{DNS: []string{"*.example"}}, outbound: true},
		{name: "another CA", leaf: sdktest.Leaf{DNS: []string{"b.example"}}, ca: other},
		{name: "server authentication only", leaf: sdktest.Leaf{DNS: []string{"b.example"}, Usage: only(x509.ExtKeyUsageServerAuth)}, outbound: true},
		{name: "client authentication only", leaf: sdktest.Leaf{DNS: []string{"b.example"}, Usage: only(x509.ExtKeyUsageClientAuth)}, inbound: true},
		{name: "IP address", leaf: sdktest.Leaf{IPs: []net.IP{net.IPv4(10, 0, 0, 1)}}, peer: transport.Peer{ServerName: "10.0.0.1"}, outbound: true, inbound: true},
		{name: "IPv6 address in another spelling", leaf: sdktest.Leaf{IPs: []net.IP{net.ParseIP("2001:db8::1")}}, peer: transport.Peer{ServerName: "[2001:0db8:0:0::1]"}, outbound: true, inbound: true},
		{name: "another IP address", leaf: sdktest.Leaf{IPs: []net.IP{net.IPv4(10, 0, 0, 2)}}, peer: transport.Peer{ServerName: "10.0.0.1"}},
		{name: "SPIFFE ID", leaf: sdktest.Leaf{URIs: []string{"spiffe://td/b"}}, peer: transport.Peer{IDs: []string{"spiffe://td/b"}}, outbound: true, inbound: true},
		{name: "SPIFFE ID whose trust domain is in capitals", leaf: sdktest.Leaf{URIs: []string{"spiffe://TD/b"}}, peer: transport.Peer{IDs: []string{"spiffe://td/b"}}, outbound: true, inbound: true},
		{name: "another SPIFFE ID", leaf: sdktest.Leaf{URIs: []string{"spiffe://td/c"}, DNS: []string{"b.example"}}, peer: transport.Peer{IDs: []string{"spiffe://td/b"}}},
		{name: "SPIFFE path in capitals", leaf: sdktest.Leaf{URIs: []string{"spiffe://td/B"}}, peer: transport.Peer{IDs: []string{"spiffe://td/b"}}},
		{name: "DNS ID", leaf: sdktest.Leaf{DNS: []string{"id.example"}}, peer: transport.Peer{IDs: []string{"spiffe://td/b", "id.example"}}, outbound: true, inbound: true},
		{name: "pin and name", leaf: sdktest.Leaf{DNS: []string{"b.example"}, Signer: key}, peer: transport.Peer{SPKIPins: [][32]byte{{1}, pin}}, outbound: true, inbound: true},
		{name: "pin without the name", leaf: sdktest.Leaf{DNS: []string{"c.example"}, Signer: key}, peer: transport.Peer{SPKIPins: [][32]byte{pin}}, inbound: true},
		{name: "another key than pinned", leaf: sdktest.Leaf{DNS: []string{"b.example"}}, peer: transport.Peer{SPKIPins: [][32]byte{pin}}},
		{name: "pin, but another CA", leaf: sdktest.Leaf{DNS: []string{"b.example"}, Signer: key}, ca: other, peer: transport.Peer{SPKIPins: [][32]byte{pin}}},
		{name: "pin and ID", leaf: sdktest.Leaf{URIs: []string{"spiffe://td/b"}, Signer: key}, peer: transport.Peer{IDs: []string{"spiffe://td/b"}, SPKIPins: [][32]byte{pin}}, outbound: true, inbound: true},
		{name: "pin without the ID", leaf: sdktest.Leaf{DNS: []string{"b.example"}, Signer: key}, peer: transport.Peer{IDs: []string{"spiffe://td/b"}, SPKIPins: [][32]byte{pin}}},
		{
			name: "two peers named", leaf: sdktest.Leaf{DNS: []string{"b.example", "d.example"}}, outbound: true,
			more: []transport.Peer{{Name: "d", URL: "https://d.example"}},
		},
		{
			name: "a second peer named that another CA vouches for", leaf: sdktest.Leaf{DNS: []string{"b.example", "d.example"}}, outbound: true, inbound: true,
			more: []transport.Peer{{Name: "d", URL: "https://d.example", Trust: trust(other)}},
		},
		{name: "through an intermediate", leaf: sdktest.Leaf{DNS: []string{"b.example"}}, ca: ca.Intermediate(t), outbound: true, inbound: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newNode(t, "a", transport.Options{}, nil)
			b := newNode(t, "b", transport.Options{}, nil)
			issuer := tc.ca
			if issuer == nil {
				issuer = ca
			}
			p := tc.peer
			p.Name, p.URL = "b", "https://"+b.addr
			if p.ServerName == "" {
				p.ServerName = "b.example"
			}
			update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: append([]transport.Peer{p}, tc.more...)})
			update(t, b.tr, transport.Material{Identity: issuer.Issue(t, tc.leaf).TLS, Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
			c, err := a.tr.Dial(t.Context(), "b", "http/1.1")
			if err == nil {
				_ = c.Close()
			} else if transport.KindOf(err) != transport.KindRefused {
				t.Errorf("dialled: %v", err)
			}
			if (err == nil) != tc.outbound {
				t.Errorf("dialled: accepted %v, want %v (%v)", err == nil, tc.outbound, err)
			}
			h, err := func() (string, error) {
				_, h, err := send(t.Context(), b, a, "x")
				return h.Get("X-Peer"), err
			}()
			if (err == nil) != tc.inbound || (tc.inbound && h != "b") {
				t.Errorf("inbound: accepted %v as %q, want %v (%v)", err == nil, h, tc.inbound, err)
			}
			// a configuration made for others judges alike
			cfg, err := a.tr.ClientTLS("b")
			if err != nil {
				t.Fatal(err)
			}
			nc, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			tc2 := tlsClient(nc, cfg)
			if err := tc2.Handshake(); (err == nil) != tc.outbound {
				t.Errorf("ClientTLS: accepted %v, want %v (%v)", err == nil, tc.outbound, err)
			}
		})
	}
}

func TestBadMaterialIsRefusedAndTheOldStays(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	good := func() transport.Material {
		return transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
	}
	base := a.tr.Stats()
	for _, tc := range []struct {
		name  string
		spoil func(m *transport.Material)
		is    error
		says  string
	}{
		{"no trust", func(m *transport.Material) { m.Trust = nil }, transport.ErrMaterial, "no roots"},
		{"empty roots", func(m *transport.Material) { m.Trust = &transport.Trust{} }, transport.ErrMaterial, "no roots"},
		{"empty roots of a peer", func(m *transport.Material) { m.Peers[0].Trust = &transport.Trust{} }, transport.ErrMaterial, "Peers[0].Trust"},
		{"a nil root", func(m *transport.Material) { m.Trust.Roots = append(m.Trust.Roots, nil) }, transport.ErrMaterial, "root 1"},
		{"a nil CRL", func(m *transport.Material) { m.Trust.CRLs = []*x509.RevocationList{nil} }, transport.ErrMaterial, "CRL 0"},
		{"an identity without certificate", func(m *transport.Material) { m.Identity.Certificate = nil }, transport.ErrMaterial, "no certificate"},
		{"an identity that is garbage", func(m *transport.Material) { m.Identity.Certificate = [][]byte{{1, 2}} }, transport.ErrMaterial, "parsed"},
		{"an identity without key", func(m *transport.Material) { m.Identity.PrivateKey = nil }, transport.ErrMaterial, "crypto.Signer"},
		{"an identity with another's key", func(m *transport.Material) { m.Identity.PrivateKey = sdktest.NewKey(t, sdktest.ECDSAP256) }, transport.ErrMaterial, "not that of the certificate"},
		{"an expired identity", func(m *transport.Material) {
			m.Identity = ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, NotAfter: ca.Certificate.NotBefore.Add(1)}).TLS
		}, transport.ErrExpired, "renew"},
		{"two peers with one URL", func(m *transport.Material) {
			p := m.Peers[0]
			p.Name, p.URL = "twin", p.URL+"/"
			m.Peers = append(m.Peers, p)
		}, transport.ErrConfig, "Peers[1].URL"},
		{"two peers with one name", func(m *transport.Material) {
			m.Peers = append(m.Peers, transport.Peer{Name: "b", URL: "https://c.example"})
		}, transport.ErrConfig, "Peers[1].Name"},
		{"two peers with one ID", func(m *transport.Material) {
			m.Peers = []transport.Peer{{URL: "https://c.example", IDs: []string{"spiffe://x/y"}}, {URL: "https://d.example", IDs: []string{"spiffe://x/y"}}}
		}, transport.ErrConfig, "spiffe://x/y"},
		{"a URL without host", func(m *transport.Material) { m.Peers[0].URL = "https://" }, transport.ErrConfig, "host"},
		{"a URL with a query", func(m *transport.Material) { m.Peers[0].URL += "?x" }, transport.ErrConfig, "query"},
		{"a URL with user info", func(m *transport.Material) { m.Peers[0].URL = "https://me:secret@b.example" }, transport.ErrConfig, "user info"},
		{"a URL with an empty fragment", func(m *transport.Material) { m.Peers[0].URL += "#" }, transport.ErrConfig, "fragment"},
		{"port 0", func(m *transport.Material) { m.Peers[0].URL = "https://b.example:0" }, transport.ErrConfig, "Peers[0].URL: has port 0"},
		{"port 65536", func(m *transport.Material) { m.Peers[0].URL = "https://b.example:65536" }, transport.ErrConfig, "has port 65536"},
		{"an empty ID", func(m *transport.Material) { m.Peers[0].IDs = []string{""} }, transport.ErrConfig, "Peers[0].IDs[0]: is empty"},
		{"a server name with an asterisk", func(m *transport.Material) { m.Peers[0].ServerName = "*.example" }, transport.ErrConfig, "Peers[0].ServerName"},
		{"a URL that is none", func(m *transport.Material) { m.Peers[0].URL = "https://b.example:x:secret" }, transport.ErrConfig, "not a URL"},
		{"a host that is not ASCII", func(m *transport.Material) { m.Peers[0].URL = "https://bücher.example" }, transport.ErrConfig, "xn--"},
		{"another scheme", func(m *transport.Material) { m.Peers[0].URL = "ftp://b.example" }, transport.ErrConfig, "ftp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := good()
			tc.spoil(&m)
			err := a.tr.Update(t.Context(), m)
			if err == nil || !strings.Contains(err.Error(), tc.says) || !errorsIs(err, tc.is) {
				t.Errorf("error %v, want one that is %q and says %q", err, tc.is, tc.says)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("a secret in %q", err)
			}
			if st := a.tr.Stats(); st.Generation != base.Generation || st.Snapshot != base.Snapshot {
				t.Error("something of it is in force")
			}
			mustSend(t, a, b, "x")
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	tr, _ := newTransport(t, transport.Options{})
	err := tr.Update(t.Context(), transport.Material{Peers: []transport.Peer{{URL: "http://x"}, {URL: "https://"}}})
	if err == nil || !strings.Contains(err.Error(), "Peers[0].URL") || !strings.Contains(err.Error(), "Peers[1].URL") {
		t.Errorf("%v", err)
	}
	_, err = transport.New(transport.Options{ConnectTimeout: -1, MaxConns: -1, SilenceFloor: 2, SilenceCap: 1, Protocol: 9})
	for _, field := range []string{"ConnectTimeout", "MaxConns", "SilenceFloor", "Protocol"} {
		if err == nil || !strings.Contains(err.Error(), field) || !errorsIs(err, transport.ErrConfig) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

func TestPathsTellPeersOfOneHostApart(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	peer := func(name, path string) transport.Peer {
		p := b.peer()
		p.Name, p.URL = name, p.URL+path
		return p
	}
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{peer("one", "/one"), peer("deep", "/one/deep/"), peer("two", "/two")}})
	for path, want := range map[string]string{"/one": "one", "/one/x": "one", "/one/deep": "deep", "/one/deep/x": "deep", "/one/deeper": "one", "/two/": "two", "/onely": "", "/": ""} {
		before := a.tr.Stats()
		resp, err := a.tr.RoundTrip(mustRequest(t, "https://"+b.addr+path))
		if want == "" {
			wantKind(t, err, transport.KindNotPeer)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for i, p := range a.tr.Stats().Peers {
			if (p.Requests > before.Peers[i].Requests) != (p.Name == want) {
				t.Errorf("%s: counted for %s, want %s", path, p.Name, want)
			}
		}
	}
}
