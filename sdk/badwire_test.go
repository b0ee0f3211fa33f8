package sdk_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/transport"
)

// badWire are messages of a stranger, good and bad. before changes what is signed, after what is sent.
var badWire = []struct {
	name          string
	before, after func(l *letterhead)
	want          string // status and tag
	want2         string // over HTTP/2, where it differs; "-": cannot be sent there
}{
	{"a good message", nil, nil, "204", ""},
	{"no body", func(l *letterhead) { l.method = "GET"; l.noBody() }, nil, "204", ""},
	{"HEAD", func(l *letterhead) { l.method = "HEAD"; l.noBody() }, nil, "204", ""},
	{"GET with a body", func(l *letterhead) { l.method = "GET" }, nil, "204", ""},
	{"an empty body", func(l *letterhead) { l.body = nil }, nil, "204", ""},
	{"a body in chunks", func(l *letterhead) { l.chunked = true }, nil, "204", ""},
	{"no body, in chunks", func(l *letterhead) { l.noBody(); l.chunked = true }, nil, "204", ""},
	{"a body under the profile without", func(l *letterhead) { l.bare = true }, nil, "401 body_unsigned", ""},
	{"the same, in chunks", func(l *letterhead) { l.bare, l.chunked = true, true }, nil, "401 body_unsigned", ""},
	{"a body over the cap", func(l *letterhead) { l.body = bytes.Repeat([]byte("x"), 16<<20+1) }, nil, "413 body_too_large", "-"},
	{"the same, in chunks", func(l *letterhead) { l.body, l.chunked = bytes.Repeat([]byte("x"), 16<<20+1), true }, nil, "413 body_too_large", "-"},
	{"another coding of the transfer", nil, plus("Transfer-Encoding", "gzip, chunked"), "501", "400"},
	{"two lengths", nil, plus("Content-Length", "3"), "400", "-"},
	{"a trailer", func(l *letterhead) { l.chunked = true }, plus("Trailer", "Federation-To"), "204", ""},

	{"no signature", nil, without("Signature", "Signature-Input"), "401 signature_missing", ""},
	{"no Signature-Input", nil, without("Signature-Input"), "401 signature_missing", ""},
	{"Signature twice", nil, func(l *letterhead) { l.set("Signature", l.sig, l.sig) }, "401 signature_doubled", ""},
	{"two members", nil, func(l *letterhead) { l.set("Signature", l.sig+", b=:AAAA:") }, "401 signature_doubled", ""},
	{"two labels", nil, func(l *letterhead) { l.set("Signature-Input", "a=();x=1, "+l.input) }, "401 signature_malformed", ""},
	{"an empty Signature", nil, func(l *letterhead) { l.set("Signature", "") }, "401 signature_empty", ""},
	{"a long Signature", nil, func(l *letterhead) { l.set("Signature", strings.Repeat("A", 10000)) }, "401 signature_oversized", ""},
	{"no padding", nil, func(l *letterhead) { l.set("Signature", strings.ReplaceAll(l.sig, "==", "")) }, "401 signature_malformed", ""},
	{"a parameter of Signature", nil, func(l *letterhead) { l.set("Signature", l.sig+";a") }, "401 signature_malformed", ""},
	{"another algorithm", nil, edit(`alg="ed25519"`, `alg="hmac-sha256"`), "401 algorithm_unknown", ""},
	{"no algorithm", nil, edit(`;alg="ed25519"`, ``), "401 signature_malformed", ""},
	{"the algorithm a token", nil, edit(`alg="ed25519"`, `alg=ed25519`), "401 signature_malformed", ""},
	{"parameters in another order", nil, edit(`;alg="ed25519";tag="federation-v1"`, `;tag="federation-v1";alg="ed25519"`), "401 signature_malformed", ""},
	{"a parameter twice", nil, edit(`;alg="ed25519"`, `;alg="ed25519";alg="ed25519"`), "401 signature_malformed", ""},
	{"a parameter more", nil, edit(`;alg=`, `;x=1;alg=`), "401 signature_malformed", ""},
	{"a parameter in upper case", nil, edit(";created", ";Created"), "401 signature_malformed", ""},
	{"a space within", nil, edit(";created", "; created"), "401 signature_malformed", ""},
	{"a tab within", nil, edit(";created", ";\tcreated"), "401 signature_malformed", ""},
	{"space around", nil, func(l *letterhead) { l.set("Signature-Input", " "+l.input+"\t") }, "204", "401 signature_malformed"},
	{"two spaces in the list", nil, edit(`"@method" `, `"@method"  `), "401 components_mismatch", ""},
	{"a component with a parameter", nil, edit(`"@method"`, `"@method";req`), "401 components_mismatch", ""},
	{"a component that is a token", nil, edit(`"@method"`, `@method`), "401 components_mismatch", ""},
	{"folded", nil, edit(";expires", "\r\n ;expires"), "401 signature_malformed", "-"},

	{"a key that nobody has", func(l *letterhead) { l.keyID = strings.Repeat("A", 43) }, nil, "401 key_unknown", ""},
	{"a key id with loose bits", func(l *letterhead) { l.keyID = strings.Repeat("B", 43) }, nil, "401 keyid_malformed", ""},
	{"expired", func(l *letterhead) { l.created -= 100; l.expires -= 100 }, nil, "401 expired", ""},
	{"from the future", func(l *letterhead) { l.created += 100; l.expires += 100 }, nil, "401 created_in_future", ""},
	{"reversed", func(l *letterhead) { l.expires = l.created - 1 }, nil, "401 window_invalid", ""},
	{"for ever", func(l *letterhead) { l.expires = 999999999999999 }, nil, "401 window_invalid", ""},
	{"at the end of time", func(l *letterhead) { l.created, l.expires = 999999999999998, 999999999999999 }, nil, "401 created_in_future", ""},
	{"at the beginning", func(l *letterhead) { l.created, l.expires = 0, 30 }, nil, "401 expired", ""},
	{"16 digits", func(l *letterhead) { l.expires = 1e15 }, nil, "401 signature_malformed", ""},
	{"negative", func(l *letterhead) { l.created = -1 }, nil, "401 signature_malformed", ""},
	{"a decimal", nil, edit(";expires", ".0;expires"), "401 signature_malformed", ""},
	{"a short nonce", func(l *letterhead) { l.nonce = "AAAA" }, nil, "401 nonce_malformed", ""},
	{"a nonce in the other alphabet", func(l *letterhead) { l.nonce = "+" + strings.Repeat("A", 21) }, nil, "401 nonce_malformed", ""},
	{"a nonce without the epoch", func(l *letterhead) { l.nonce = strings.Repeat("A", 22) }, nil, "401 sign_again", ""},

	{"another body", nil, func(l *letterhead) { l.body = []byte("hellO") }, "401 digest_mismatch", ""},
	{"another digest", func(l *letterhead) { l.digest = "sha-512=:AAAA:" }, nil, "401 digest_algorithm", ""},
	{"two digests", nil, func(l *letterhead) { l.set("Content-Digest", l.digest+", sha-512=:AAAA:") }, "401 digest_algorithm", ""},
	{"a parameter of the digest", func(l *letterhead) { l.digest = "sha-256=:AAAA:;a" }, nil, "401 digest_malformed", ""},
	{"no digest", nil, without("Content-Digest"), "401 digest_missing", ""},
	{"the digest twice", nil, func(l *letterhead) { l.set("Content-Digest", l.digest, l.digest) }, "401 field_doubled", ""},
	{"for somebody else", func(l *letterhead) { l.to = "c.example" }, nil, "403 recipient_mismatch", ""},
	{"for two", func(l *letterhead) { l.to = "b.example,c.example" }, nil, "403 recipient_mismatch", ""},
	{"no operation field", nil, without("Federation-Op"), "401 field_missing", ""},
	{"a field with an underscore", nil, func(l *letterhead) { l.set("Federation-Op"); l.put("Federation_Op", l.op) }, "401 field_missing", ""},
	{"an empty operation", func(l *letterhead) { l.op = "" }, nil, "401 field_malformed", ""},
	{"a long operation", func(l *letterhead) { l.op = strings.Repeat("o", 129) }, nil, "401 field_oversized", ""},
	{"a media type that is not ASCII", func(l *letterhead) { l.contentType = "text/plän" }, nil, "401 field_malformed", ""},
	{"a folded media type", func(l *letterhead) { l.contentType = "text/plain; a=b" }, func(l *letterhead) { l.set("Content-Type", "text/plain;\r\n\t a=b") }, "204", "-"},
	{"compressed", nil, plus("Content-Encoding", "gzip"), "401 encoding_unsigned", ""},
	{"a header of 1 MB", nil, plus("X", strings.Repeat("x", 1<<20)), "431", "-"},
	{"the other wire", nil, plus("X-Memory-Sig", "ed25519=AAAA"), "401 wire_mismatch", ""},
	{"the other wire alone", nil, func(l *letterhead) { l.fields = [][2]string{{"X-Memory-Sig", "ed25519=AAAA"}} }, "401 wire_mismatch", ""},

	{"Host twice", nil, plus("Host", "b.example"), "400", "204"},
	{"another Host", nil, plus("Host", "c.example"), "400", "401 authority_malformed"},
	{"no host", func(l *letterhead) { l.host, l.authority = "", "b.example" }, nil, "401 authority_malformed", ""},
	{"the default port", func(l *letterhead) { l.host, l.authority = "B.example:443", "b.example" }, nil, "204", ""},
	{"a port with a zero", func(l *letterhead) { l.host = "b.example:0443" }, nil, "401 authority_malformed", ""},
	{"the absolute form", func(l *letterhead) { l.target, l.path = "https://b.example/x", "/x" }, nil, "401 target_malformed", ""},
	{"CONNECT", func(l *letterhead) { l.method, l.target = "CONNECT", "b.example:443"; l.noBody() }, nil, "401 target_malformed", "-"},
	{"OPTIONS *", func(l *letterhead) { l.method, l.target = "OPTIONS", "*"; l.noBody() }, nil, "401 target_malformed", ""},
	{"OPTIONS * signed as /", func(l *letterhead) { l.method, l.target, l.path = "OPTIONS", "*", "/"; l.noBody() }, nil, "401 target_malformed", ""},
	{"an escaped slash", to("/a%2Fb"), nil, "204", ""},
	{"an escaped slash for a slash", to("/a/b"), to("/a%2Fb"), "401 signature_invalid", ""},
	{"an escape in another case", to("/a%2Fb"), to("/a%2fb"), "401 signature_invalid", ""},
	{"an escape of what needs none", to("/~"), to("/%7E"), "401 signature_invalid", ""},
	{"two slashes", to("//a//b"), nil, "204", ""},
	{"two slashes for one", to("/a/b"), to("//a/b"), "401 signature_invalid", ""},
	{"dot segments", to("/b"), to("/a/../b"), "401 signature_invalid", ""},
	{"an empty query", to("/a"), to("/a?"), "401 target_malformed", ""},
	{"an empty query, signed", to("/a?"), nil, "401 target_malformed", ""},
	{"a plus for a space", to("/a?b=%20"), to("/a?b=+"), "401 signature_invalid", ""},
	{"a path that is not ASCII", to("/ä"), nil, "401 target_malformed", ""},
	{"a fragment", to("/a#b"), nil, "401 target_malformed", ""},
	{"a long path", to("/" + strings.Repeat("a", 8192)), nil, "401 target_malformed", ""},
	{"the method in lower case", func(l *letterhead) { l.method = "post" }, func(l *letterhead) { l.method = "POST" }, "401 signature_invalid", ""},
}

func plus(name, value string) func(*letterhead) {
	return func(l *letterhead) { l.put(name, value) }
}

func without(names ...string) func(*letterhead) {
	return func(l *letterhead) {
		for _, n := range names {
			l.set(n)
		}
	}
}

func edit(from, to string) func(*letterhead) {
	return func(l *letterhead) { l.set("Signature-Input", strings.Replace(l.input, from, to, 1)) }
}

func to(target string) func(*letterhead) { return func(l *letterhead) { l.target = target } }

func TestMessagesOfAStrangerOnTheWire(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil || len(r.Header["Host"]) > 0 && r.Header["Host"][0] != r.Host {
			t.Errorf("%v, Host %q", err, r.Header["Host"])
		}
		w.WriteHeader(http.StatusNoContent)
	})
	m := newMesh(t, 2, h, func(_ *node, b *sdk.Builder) { b.Transport.Protocol = transport.HTTP2 })
	a, b := m.nodes[0], m.nodes[1]
	b.server.Handler = b.fed.Verify(h)
	s := &stranger{ca: m.ca.Certificate, cert: a.identity.cert, key: a.key.key, addr: b.listener.Addr().String()}
	l := newLetterhead()
	s.sign(t, l)
	first, err := s.send1(t, l)
	if err != nil || first.tag != "sign_again" {
		t.Fatalf("the first message: %+v, %v", first, err)
	}
	s.epoch = first.epoch
	for _, c := range badWire {
		for proto, send := range []func(*testing.T, *letterhead) (reply, error){s.send1, s.send2} {
			want := c.want
			if proto == 1 && c.want2 != "" {
				want = c.want2
			}
			if want == "-" {
				continue
			}
			l := newLetterhead()
			if c.before != nil {
				c.before(l)
			}
			s.sign(t, l)
			if c.after != nil {
				c.after(l)
			}
			r, err := send(t, l)
			if got := strings.TrimSpace(fmt.Sprint(r.status, " ", r.tag)); err != nil || got != want {
				t.Errorf("%s, HTTP/%d: got %s, %v; want %s", c.name, proto+1, got, err, want)
			}
			if r.tag != "" && r.body != `{"error":"`+r.tag+`"}`+"\n" {
				t.Errorf("%s, HTTP/%d: the refusal says %q", c.name, proto+1, r.body)
			}
		}
	}
}
