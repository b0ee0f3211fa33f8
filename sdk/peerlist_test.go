package sdk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/signer"
)

func TestNormalizeURLBringsEverySpellingIntoOneForm(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"scheme and host case", "HTTPS://B.Example/", "https://b.example"},
		{"default port", "https://b.example:443", "https://b.example"},
		{"default port with zeros", "https://b.example:0443", "https://b.example"},
		{"empty port", "https://b.example:", "https://b.example"},
		{"other port", "https://b.example:9077/", "https://b.example:9077"},
		{"trailing dot", "https://b.example./", "https://b.example"},
		{"trailing slashes", "https://b.example/base//", "https://b.example/base"},
		{"path keeps its case", "https://b.example/Base", "https://b.example/Base"},
		{"unreserved escapes", "https://b.example/%7Ebase/%62", "https://b.example/~base/b"},
		{"reserved escapes keep, in upper case", "https://b.example/a%2fb", "https://b.example/a%2Fb"},
		{"dot segments", "https://b.example/x/../base/./y/..", "https://b.example/base"},
		{"escaped dot segments", "https://b.example/x/%2e%2E/base", "https://b.example/base"},
		{"dots above the root", "https://b.example/../..", "https://b.example"},
		{"empty segments stay", "https://b.example//a", "https://b.example//a"},
		{"IDN", "https://bücher.example", "https://xn--bcher-kva.example"},
		{"IDN in A-form and upper case", "https://XN--BCHER-KVA.example", "https://xn--bcher-kva.example"},
		{"IDN decomposed", "https://bu\u0308cher.example", "https://xn--bcher-kva.example"},
		{"full-width dot and letters", "https://ｂ．example", "https://b.example"},
		{"escaped host", "https://b%C3%BCcher.example", "https://xn--bcher-kva.example"},
		{"IPv6 long form", "https://[2001:0DB8:0:0:0:0:0:1]", "https://[2001:db8::1]"},
		{"IPv4 mapped into IPv6", "https://[::ffff:192.0.2.1]:9077", "https://192.0.2.1:9077"},
		{"IPv6 zone", "https://[fe80::1%25eth0]:9077", "https://[fe80::1%25eth0]:9077"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := normalizeURL(tt.in, false)
			if err != nil || got != tt.want {
				t.Fatalf("normalizeURL(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
			again, _, err := normalizeURL(got, false)
			if err != nil || again != got {
				t.Errorf("normalising %q again gives %q, %v; want no change", got, again, err)
			}
		})
	}
}

func TestPeersAreRefusedNamingFieldAndCure(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public()
	pin := strings.Repeat("ab", 32)
	for _, tt := range []struct {
		name  string
		peers []Peer
		want  []string // parts of the error
	}{
		{"empty URL", []Peer{{}}, []string{"Peers[0].URL", "is empty", "https://HOST"}},
		{"no scheme", []Peer{{URL: "b.example:9077"}}, []string{"Peers[0].URL", "https"}},
		{"no scheme or port", []Peer{{URL: "b.example"}}, []string{"Peers[0].URL", "no scheme"}},
		{"http", []Peer{{URL: "http://b.example"}}, []string{"Peers[0].URL", `"http"`, "AllowPlaintext"}},
		{"other scheme", []Peer{{URL: "ftp://b.example"}}, []string{"Peers[0].URL", `"ftp"`, "use https"}},
		{"opaque", []Peer{{URL: "https:b.example"}}, []string{"Peers[0].URL", "no host"}},
		{"empty host", []Peer{{URL: "https:///path"}}, []string{"Peers[0].URL", "no host"}},
		{"empty host with port", []Peer{{URL: "https://:9077"}}, []string{"Peers[0].URL", "no host"}},
		{"unspecified address", []Peer{{URL: "https://0.0.0.0:9077"}}, []string{"Peers[0].URL", "0.0.0.0"}},
		{"user info", []Peer{{URL: "https://joe:hunter2@b.example"}}, []string{"Peers[0].URL", "user info", "remove"}},
		{"query", []Peer{{URL: "https://b.example?x=1"}}, []string{"Peers[0].URL", "query", "remove"}},
		{"empty query", []Peer{{URL: "https://b.example?"}}, []string{"Peers[0].URL", "query", "remove"}},
		{"fragment", []Peer{{URL: "https://b.example#x"}}, []string{"Peers[0].URL", "fragment", "remove"}},
		{"empty fragment", []Peer{{URL: "https://b.example#"}}, []string{"Peers[0].URL", "fragment", "remove"}},
		{"port 0", []Peer{{URL: "https://b.example:0"}}, []string{"Peers[0].URL", "port 0", "1 to 65535"}},
		{"port over 65535", []Peer{{URL: "https://b.example:65536"}}, []string{"Peers[0].URL", "port 65536"}},
		{"port no number", []Peer{{URL: "https://b.example:x"}}, []string{"Peers[0].URL", "not a URL"}},
		{"spaces", []Peer{{URL: " https://b.example"}}, []string{"Peers[0].URL", "spaces"}},
		{"control character", []Peer{{URL: "https://b.example/%0a"}}, []string{"Peers[0].URL", "%0A"}},
		{"octal address", []Peer{{URL: "https://192.168.001.1"}}, []string{"Peers[0].URL", "leading zeros"}},
		{"short address", []Peer{{URL: "https://127.1"}}, []string{"Peers[0].URL", "IPv4"}},
		{"hexadecimal address", []Peer{{URL: "https://0x7f000001"}}, []string{"Peers[0].URL", "IPv4"}},
		{"empty label", []Peer{{URL: "https://b..example"}}, []string{"Peers[0].URL", "host"}},
		{"long label", []Peer{{URL: "https://" + strings.Repeat("b", 64) + ".example"}}, []string{"Peers[0].URL", "host"}},
		{"broken IPv6", []Peer{{URL: "https://[::g]"}}, []string{"Peers[0].URL"}},

		{"same URL twice", []Peer{{URL: "https://b.example"}, {URL: "https://b.example"}}, []string{"Peers[1].URL", "Peers[0]", "count twice"}},
		{"same URL in another case", []Peer{{URL: "https://b.example"}, {URL: "HTTPS://B.EXAMPLE"}}, []string{"Peers[1].URL", "Peers[0]"}},
		{"same URL with default port", []Peer{{URL: "https://b.example"}, {URL: "https://b.example:443"}}, []string{"Peers[1].URL", "Peers[0]"}},
		{"same URL with a slash", []Peer{{URL: "https://b.example/x"}, {URL: "https://b.example/x/"}}, []string{"Peers[1].URL", "Peers[0]"}},
		{"same URL escaped", []Peer{{URL: "https://b.example/~x"}, {URL: "https://b.example/%7ex"}}, []string{"Peers[1].URL", "Peers[0]"}},
		{"same URL as IDN", []Peer{{URL: "https://bücher.example"}, {URL: "https://xn--bcher-kva.example"}}, []string{"Peers[1].URL", "Peers[0]"}},
		{"same IPv6 address", []Peer{{URL: "https://[2001:db8::1]"}, {URL: "https://[2001:DB8:0:0::1]:443"}}, []string{"Peers[1].URL", "Peers[0]"}},

		{"ID twice", []Peer{{ID: "b", URL: "https://b.example"}, {ID: "b", URL: "https://c.example"}}, []string{"Peers[1].ID", "Peers[0]"}},
		{"ID that is another's URL", []Peer{{URL: "https://b.example"}, {ID: "https://b.example", URL: "https://c.example"}}, []string{"Peers[1].ID", "Peers[0]"}},
		{"ID with a space", []Peer{{ID: "b b", URL: "https://b.example"}}, []string{"Peers[0].ID", "spaces"}},
		{"name twice", []Peer{{Name: "b", URL: "https://b.example"}, {Name: "b", URL: "https://c.example"}}, []string{"Peers[1].Name", "Peers[0]"}},
		{"name that a default takes", []Peer{{Name: "peer-1", URL: "https://b.example"}, {URL: "https://c.example"}}, []string{"Peers[1].Name", "Peers[0]"}},
		{"name is a URL", []Peer{{Name: "https://b.example", URL: "https://b.example"}}, []string{"Peers[0].Name", "metric label"}},
		{"certificate name twice", []Peer{{URL: "https://b.example", IDs: []string{"spiffe://x.example/n"}}, {URL: "https://c.example", IDs: []string{"SPIFFE://X.example/n"}}}, []string{"Peers[1].IDs[0]", "Peers[0]"}},
		{"certificate name empty", []Peer{{URL: "https://b.example", IDs: []string{""}}}, []string{"Peers[0].IDs[0]", "is empty"}},
		{"pin twice", []Peer{{URL: "https://b.example", SPKIPins: []string{pin}}, {URL: "https://c.example", SPKIPins: []string{strings.ToUpper(pin)}}}, []string{"Peers[1].SPKIPins[0]", "Peers[0]"}},
		{"pin too short", []Peer{{URL: "https://b.example", SPKIPins: []string{"abcd"}}}, []string{"Peers[0].SPKIPins[0]", "SHA-256"}},
		{"key twice", []Peer{{URL: "https://b.example", Keys: keys(key)}, {URL: "https://c.example", Keys: keys(key)}}, []string{"Peers[1].Keys[0]", "Peers[0]"}},
		{"key twice in one peer", []Peer{{URL: "https://b.example", Keys: keys(key, key)}}, []string{"Peers[0].Keys[1]", "listed twice"}},
		{"key not Ed25519", []Peer{{URL: "https://b.example", Keys: keys(&ecdsa.PublicKey{Curve: elliptic.P256()})}}, []string{"Peers[0].Keys[0]", "Ed25519"}},
		{"key too short", []Peer{{URL: "https://b.example", Keys: keys(ed25519.PublicKey("short"))}}, []string{"Peers[0].Keys[0]", "32"}},
		{"unknown wire", []Peer{{URL: "https://b.example", Wire: 99}}, []string{"Peers[0].Wire", "signer.WireFederation"}},
		{"bad server name", []Peer{{URL: "https://b.example", ServerName: "b..example"}}, []string{"Peers[0].ServerName"}},
		{"server name with a port", []Peer{{URL: "https://b.example", ServerName: "b.example:9077"}}, []string{"Peers[0].ServerName", "names no port", "host alone"}},
		{"server name that is a URL", []Peer{{URL: "https://b.example", ServerName: "https://b.example"}}, []string{"Peers[0].ServerName", "slash", "name alone"}},
		{"server name in brackets", []Peer{{URL: "https://[::1]", ServerName: "[::1]"}}, []string{"Peers[0].ServerName", "brackets", "remove"}},
		{"SPIFFE ID with an empty segment", []Peer{{URL: "https://b.example", IDs: []string{"spiffe://x.example/a//b"}}}, []string{"Peers[0].IDs[0]", "empty segments"}},
		{"SPIFFE ID with dots", []Peer{{URL: "https://b.example", IDs: []string{"spiffe://x.example/a/../b"}}}, []string{"Peers[0].IDs[0]", "dot segments"}},
		{"SPIFFE ID with an escape", []Peer{{URL: "https://b.example", IDs: []string{"spiffe://x.example/%61"}}}, []string{"Peers[0].IDs[0]", "percent-encoding"}},
		{"name of this node", []Peer{{URL: "https://b.example", Name: "local"}}, []string{"Peers[0].Name", "this node"}},
		{"name that is another's ID", []Peer{{URL: "https://b.example", Name: "c"}, {URL: "https://c.example", Name: "x", ID: "c"}}, []string{"Peers[0].Name", "Peers[1]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := validatePeers(tt.peers, false)
			if err == nil {
				t.Fatal("the peers were accepted")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q says nothing of %q", err, part)
				}
			}
			if !errors.Is(err, ErrConfig) {
				t.Errorf("error %q does not match ErrConfig", err)
			}
			var ce *ConfigError
			if !errors.As(err, &ce) {
				t.Errorf("error %q holds no *ConfigError", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q shows the password of the URL", err)
			}
		})
	}
}

func keys(k ...crypto.PublicKey) []crypto.PublicKey { return k }

func TestPeersThatDifferAreAccepted(t *testing.T) {
	in := []Peer{
		{URL: "https://b.example"},
		{URL: "https://b.example/other"},
		{URL: "https://b.example/Other"},
		{URL: "https://127.0.0.1:9001"},
		{URL: "https://127.0.0.1:9002"},
		{Name: "old", URL: "https://m.example", Wire: signer.WireAIMemory},
	}
	got, err := validatePeers(in, false)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Name != "peer-0" || got[4].Name != "peer-4" || got[5].Name != "old" {
		t.Errorf("names %q, %q, %q: want peer-0, peer-4, old", got[0].Name, got[4].Name, got[5].Name)
	}
	if got[0].ID != "https://b.example" || got[3].ServerName != "127.0.0.1" {
		t.Errorf("ID %q and server name %q: want the URL and its host", got[0].ID, got[3].ServerName)
	}
	if got, want := got[1].PushURL(), "https://b.example/other/api/v1/sync/push"; got != want {
		t.Errorf("push URL %q, want %q", got, want)
	}
	if in[0].Name != "" {
		t.Error("the caller's peers were changed")
	}
}

func TestEveryProblemOfAListComesAtOnce(t *testing.T) {
	_, err := validatePeers([]Peer{{URL: "http://b.example"}, {URL: "https://c.example#x"}, {URL: "https://d.example", Wire: 9}}, false)
	for _, field := range []string{"Peers[0].URL", "Peers[1].URL", "Peers[2].Wire"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}

func TestEveryProblemOfAURLComesAtOnce(t *testing.T) {
	_, err := validatePeers([]Peer{{URL: "http://joe:hunter2@b..example:0/%00?x=1#y"}}, false)
	if err == nil {
		t.Fatal("the peer was accepted")
	}
	for _, what := range []string{"AllowPlaintext", "user info", "query", "fragment", "empty label", "port 0", "%00"} {
		if !strings.Contains(err.Error(), "Peers[0].URL: ") || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v says nothing of %s", err, what)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %q shows the password of the URL", err)
	}
}

func TestPlaintextIsAcceptedWhenItIsMeant(t *testing.T) {
	got, err := validatePeers([]Peer{{URL: "http://b.example:80/"}}, true)
	if err != nil || got[0].URL != "http://b.example" {
		t.Fatalf("got %v, %v; want http://b.example", got, err)
	}
}

func FuzzNormalizeURL(f *testing.F) {
	for _, s := range []string{"https://b.example", "https://[::1]:9/x/%7e/../y", "https://bücher.example./", "https://a%2f", "https://xn--a/", "https://b.example//.//..//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, host, err := normalizeURL(s, true)
		if err != nil {
			return
		}
		if host == "" {
			t.Fatalf("%q has no host", s)
		}
		twice, _, err := normalizeURL(once, true)
		if err != nil || twice != once {
			t.Fatalf("%q gives %q, which gives %q, %v", s, once, twice, err)
		}
	})
}
