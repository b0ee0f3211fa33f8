package signer_test

import (
	"crypto/sha256"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/signer"
)

// mutant is a verifier to which one message is shown in many wrong forms, and which must refuse each.
type mutant struct {
	t    *testing.T
	node *node
	from signer.From
	good *http.Request
	body string
	n    int
}

// refused shows a form, and that it was not because the nonce had been spent.
func (m *mutant) refused(what string, r *http.Request) {
	m.t.Helper()
	m.n++
	_, err := m.node.verifier.Verify(r, m.from)
	switch tag := tagOf(m.t, err); tag {
	case "":
		m.t.Errorf("%s: accepted", what)
	case signer.TagReplayed, signer.TagMemoryReplay:
		m.t.Errorf("%s: refused as a replay only", what)
	}
}

// survived shows that the message itself is still good.
func (m *mutant) survived() {
	m.t.Helper()
	if _, err := m.node.verifier.Verify(again(m.t, m.good, m.body), m.from); err != nil {
		m.t.Errorf("the message itself after %d mutants: %v", m.n, err)
	}
	if _, err := m.node.verifier.Verify(again(m.t, m.good, m.body), m.from); tagOf(m.t, err) == "" {
		m.t.Error("the message a second time: accepted")
	}
}

// headers flips every byte of every header value, and drops, doubles, empties and swaps the fields. Where
// free says so, a field is not covered, or only in part.
func (m *mutant) headers(free func(name, was, is string) bool) {
	names := make([]string, 0, len(m.good.Header))
	for name := range m.good.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		was := m.good.Header.Get(name)
		try := func(what string, values ...string) {
			if free(name, was, strings.Join(values, "\x00")) {
				return
			}
			r := again(m.t, m.good, m.body)
			r.Header[name] = values
			if len(values) == 0 {
				delete(r.Header, name)
			}
			m.refused(name+" "+what, r)
		}
		try("dropped")
		try("empty", "")
		try("doubled", was, was)
		try("with an empty one before", "", was)
		try("with an empty one after", was, "")
		try("with a comma and itself", was+", "+was)
		try("with a space before", " "+was)
		try("with a space after", was+" ")
		for i := range len(was) {
			for _, bit := range []byte{0x01, 0x20, 0x80} {
				b := []byte(was)
				b[i] ^= bit
				try("with a byte flipped", string(b))
			}
			try("cut", was[:i])
		}
		for _, other := range names {
			if other != name && !free(name, was, m.good.Header.Get(other)) {
				r := again(m.t, m.good, m.body)
				r.Header[name], r.Header[other] = r.Header[other], r.Header[name]
				m.refused(name+" swapped with "+other, r)
			}
		}
	}
}

func (m *mutant) rest() {
	for i := range len(m.body) {
		b := []byte(m.body)
		b[i] ^= 1
		m.refused("a byte of the body flipped", again(m.t, m.good, string(b)))
		m.refused("the body cut", again(m.t, m.good, m.body[:i]))
	}
	m.refused("the body longer", again(m.t, m.good, m.body+" "))
	for _, method := range []string{"GET", "PUT", "post", "POST ", ""} {
		r := again(m.t, m.good, m.body)
		r.Method = method
		m.refused("method "+method, r)
	}
	target := m.good.RequestURI
	for i := range len(target) {
		for _, bit := range []byte{0x01, 0x20, 0x80} {
			b := []byte(target)
			b[i] ^= bit
			r := again(m.t, m.good, m.body)
			r.RequestURI = string(b)
			m.refused("target "+r.RequestURI, r)
		}
	}
	for _, add := range []string{"?", "&", "#", " ", "/"} {
		r := again(m.t, m.good, m.body)
		r.RequestURI += add
		m.refused("target with "+add, r)
	}
	for _, host := range []string{"", "c.example", "b.example:80", "b.example.", "b.exampl", " b.example", "b.example,b.example"} {
		r := again(m.t, m.good, m.body)
		r.Host = host
		m.refused("host "+host, r)
	}
	r := again(m.t, m.good, m.body)
	r.TLS, r.Host = nil, "b.example:443"
	m.refused("the scheme changed", r)
}

func TestEveryMutationOfAGoodMessageIsRefused(t *testing.T) {
	const body = `{"hello":"world"}`
	n := newNode(t)
	m := &mutant{t: t, node: n, from: signer.From{Peer: "a"}, good: n.signed(t, body), body: body}
	covered := []string{"Content-Type", signer.HeaderContentDigest, signer.HeaderTo, signer.HeaderOperation, signer.HeaderSignature, signer.HeaderSignatureInput}
	for name := range m.good.Header {
		if !slices.Contains(covered, name) {
			t.Fatalf("field %s is not expected", name)
		}
	}
	m.headers(func(_, was, is string) bool { return was == is })
	m.rest()
	for name, value := range map[string]string{"Content-Encoding": "gzip", signer.HeaderMemorySig: "x", signer.HeaderMemoryNonce: "x"} {
		r := again(t, m.good, body)
		r.Header.Set(name, value)
		m.refused(name+" added", r)
	}
	m.survived()
	t.Logf("%d mutants", m.n)
}

func TestEveryMutationOfAGoodMessageWithoutABodyIsRefused(t *testing.T) {
	n := newNode(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://b.example/since?since=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.signer.Sign(req, signer.Audience{To: "b.example", Operation: "op-1"}); err != nil {
		t.Fatal(err)
	}
	m := &mutant{t: t, node: n, from: signer.From{Peer: "a"}, good: received(t, req)}
	m.headers(func(_, was, is string) bool { return was == is })
	for name, value := range map[string]string{"Content-Type": "text/plain", signer.HeaderContentDigest: "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"} {
		r := again(t, m.good, "")
		r.Header.Set(name, value)
		m.refused(name+" added", r)
	}
	for _, length := range []int64{1, -1} {
		r := again(t, m.good, "x")
		r.ContentLength = length
		m.refused("a body added", r)
	}
	m.survived()
}

func TestEveryMutationOfAnAIMemoryMessageIsRefused(t *testing.T) {
	const body = `{"sender_agent_id":"agent-a","memories":[]}`
	n := newNode(t)
	req := post(t, body)
	if err := n.signer.Sign(req, signer.Audience{Operation: "m-1", Wire: signer.WireAIMemory}); err != nil {
		t.Fatal(err)
	}
	m := &mutant{t: t, node: n, from: signer.From{Peer: "a", Wire: signer.WireAIMemory}, good: received(t, req), body: body}
	m.headers(func(name, was, is string) bool {
		switch name {
		case "Content-Type", signer.HeaderIdempotencyKey: // that wire covers neither
			return true
		case signer.HeaderMemorySig: // nor a parameter after the signature
			before, _, _ := strings.Cut(is, ";")
			return strings.TrimRight(before, " ") == was
		}
		return was == is
	})
	for i := range len(body) {
		b := []byte(body)
		b[i] ^= 1
		m.refused("a byte of the body flipped", again(t, m.good, string(b)))
	}
	r := again(t, m.good, body)
	r.Header.Set("Content-Encoding", "gzip")
	m.refused("Content-Encoding added", r)
	m.survived()
}

func TestStreamedMessageIsRefusedAtItsEndOnly(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 1<<14)
	for name, c := range map[string]struct {
		body  string
		limit int64
		want  signer.Tag
	}{
		"good":         {body, 0, ""},
		"a byte less":  {body[:len(body)-1], 0, signer.TagDigest},
		"a byte more":  {body + "x", 0, signer.TagDigest},
		"another byte": {"x" + body[1:], 0, signer.TagDigest},
		"over the cap": {body, int64(len(body)) - 1, signer.TagBodyTooLarge},
		"at the cap":   {body, int64(len(body)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			r := again(t, n.signed(t, body), c.body)
			r.ContentLength = -1
			got, err := n.verifier.VerifyStream(r, signer.From{Peer: "a"}, c.limit)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r.Body)
			if tag := tagOf(t, err); tag != c.want {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if _, again := r.Body.Read(make([]byte, 1)); c.want != "" && again != err {
				t.Errorf("the next Read: %v", again)
			}
			if c.want == "" && (string(data) != body || got.Digest != sha256.Sum256(data)) {
				t.Error("another body")
			}
			_, err = n.verifier.Verify(again(t, r, body), signer.From{Peer: "a"})
			if tag := tagOf(t, err); c.want == "" && tag != signer.TagReplayed || c.want != "" && tag != "" {
				t.Errorf("the message afterwards: %v", err)
			}
		})
	}
}

func TestStreamThatIsNotReadToItsEndSpendsNothing(t *testing.T) {
	n := newNode(t)
	r := n.signed(t, "hello")
	if _, err := n.verifier.VerifyStream(r, signer.From{Peer: "a"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Body.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if err := r.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Body.Read(make([]byte, 1)); err == nil {
		t.Error("read after Close")
	}
	if _, err := n.verifier.Verify(again(t, r, "hello"), signer.From{Peer: "a"}); err != nil {
		t.Error(err)
	}
}
