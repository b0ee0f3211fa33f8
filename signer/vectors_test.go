package signer

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// vectorFile is a file of test vectors for verifiers, as docs/wire.md explains it.
type vectorFile struct {
	Description string              `json:"description"`
	Seeds       map[string]string   `json:"seeds"` // hex; of the private keys (RFC 8032 section 5.1.5)
	Keys        map[string][]string `json:"keys"`  // by peer, public keys in base64url
	Recipients  []string            `json:"recipients"`
	MaxAge      int64               `json:"max_age_seconds"`
	Skew        int64               `json:"skew_seconds"`
	MaxBody     int64               `json:"max_body_bytes"`
	Vectors     []*vector           `json:"vectors"`
}

// vector is one message as it arrives, and what becomes of it.
type vector struct {
	Name      string      `json:"name"`
	Wire      string      `json:"wire"`
	Peer      string      `json:"peer"`                // that TLS has authenticated
	PeerID    string      `json:"peer_id,omitempty"`   // that this peer must bear; ai-memory
	Now       int64       `json:"now"`                 // the receiver's clock
	Started   int64       `json:"started,omitempty"`   // when its memory began; 0: it is older than everything
	Epoch     string      `json:"epoch,omitempty"`     // of the receiver
	Authority string      `json:"authority,omitempty"` // that the receiver is configured to expect
	Method    string      `json:"method"`
	Scheme    string      `json:"scheme"`
	Host      string      `json:"host"`
	Target    string      `json:"target"`
	Header    [][2]string `json:"header"`
	Body      string      `json:"body_base64"`
	Base      string      `json:"signed_base64,omitempty"` // the bytes that were signed
	Tag       Tag         `json:"tag"`                     // of the refusal; "": accepted
	Operation string      `json:"operation,omitempty"`     // of an accepted message
	Repeat    bool        `json:"repeat,omitempty"`        // the message arrived once before, and was accepted

	signed string // what the sender signed, whatever arrived
}

const vectorNow = 1764000000

var vectorSeeds = map[string]string{
	"a":       "0101010101010101010101010101010101010101010101010101010101010101",
	"a-next":  "0202020202020202020202020202020202020202020202020202020202020202",
	"c":       "0303030303030303030303030303030303030303030303030303030303030303",
	"nobody":  "0404040404040404040404040404040404040404040404040404040404040404",
	"RFC9421": "9f8362f87a484a954e6e740c5b4c0e84229139a20aa8ab56ff66586f6a7d29c5",
}

func seedKey(t testing.TB, name string) ed25519.PrivateKey {
	t.Helper()
	seed, err := hex.DecodeString(vectorSeeds[name])
	if err != nil || len(seed) != ed25519.SeedSize {
		t.Fatalf("seed %q: %v", name, err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

func seedPublic(t testing.TB, name string) string {
	t.Helper()
	return base64.RawURLEncoding.EncodeToString(seedKey(t, name).Public().(ed25519.PublicKey))
}

// draft is a message of which every part can be made wrong before or after it is signed.
type draft struct {
	t    testing.TB
	v    *vector
	m    message
	in   signatureInput
	key  string // of vectorSeeds
	body []byte
	sum  [sha256.Size]byte
	// filled in by sign
	input, sig string
}

// newDraft is a good POST.
func newDraft(t testing.TB, name string) *draft {
	body := []byte(`{"hello":"world"}`)
	d := &draft{
		t: t, key: "a", body: body, sum: sha256.Sum256(body),
		v:  &vector{Name: name, Wire: "federation", Peer: "a", Now: vectorNow, Method: "POST", Scheme: "https", Host: "b.example", Target: "/api/v1/sync/push"},
		m:  message{method: "POST", authority: "b.example", path: "/api/v1/sync/push", query: "?", contentType: "application/json", to: "b.example", op: "op-1", body: true},
		in: signatureInput{body: true, created: vectorNow, expires: vectorNow + 30},
	}
	sum := sha256.Sum256([]byte(name))
	copy(d.in.nonce[:], sum[:])
	return d
}

// get is a good GET.
func newGet(t testing.TB, name, target, path, query string) *draft {
	d := newDraft(t, name)
	d.v.Method, d.v.Target = "GET", target
	d.m = message{method: "GET", authority: "b.example", path: path, query: query, to: "b.example", op: "-"}
	d.in.body, d.body = false, nil
	return d
}

// sign makes the header of what the draft says so far.
func (d *draft) sign() *draft {
	key := seedKey(d.t, d.key)
	d.in.keyID = Thumbprint(key.Public().(ed25519.PublicKey))
	if d.m.body {
		d.m.digest = contentDigest(d.sum)
	}
	d.input = string(appendInput(nil, &d.in))
	base := d.m.appendBase(nil, d.input[len(sigLabel):])
	d.v.Base, d.v.signed = base64.StdEncoding.EncodeToString(base), string(base)
	d.sig = string(appendSignature(nil, ed25519.Sign(key, base)))
	d.v.Header = nil
	if d.m.body {
		d.add("Content-Type", d.m.contentType)
		d.add(HeaderContentDigest, d.m.digest)
	}
	d.add(HeaderTo, d.m.to)
	d.add(HeaderOperation, d.m.op)
	d.add(HeaderSignatureInput, d.input)
	d.add(HeaderSignature, d.sig)
	return d
}

func (d *draft) add(name, value string) { d.v.Header = append(d.v.Header, [2]string{name, value}) }

func (d *draft) set(name, value string) {
	d.drop(name)
	d.add(name, value)
}

func (d *draft) drop(name string) {
	var kept [][2]string
	for _, h := range d.v.Header {
		if h[0] != name {
			kept = append(kept, h)
		}
	}
	d.v.Header = kept
}

func (d *draft) done(tag Tag) *vector {
	d.v.Body = base64.StdEncoding.EncodeToString(d.body)
	d.v.Tag = tag
	if tag == "" && d.m.op != noOperation {
		d.v.Operation = d.m.op
	}
	if tag != "" {
		d.v.Base = ""
	}
	return d.v
}

func federationVectors(t testing.TB) []*vector {
	var all []*vector
	good := func(d *draft) *draft {
		d.sign()
		all = append(all, d.done(""))
		return d
	}
	// before changes what is signed; after changes what arrives.
	bad := func(name string, tag Tag, before, after func(d *draft)) {
		d := newDraft(t, name)
		if before != nil {
			before(d)
		}
		d.sign()
		if after != nil {
			after(d)
		}
		all = append(all, d.done(tag))
	}

	good(newDraft(t, "post"))
	d := newDraft(t, "post without an operation")
	d.m.op = "-"
	good(d)
	d = newDraft(t, "post with an empty body")
	d.body, d.sum = nil, sha256.Sum256(nil)
	good(d)
	d = newDraft(t, "post with parameters in the media type")
	d.m.contentType = `multipart/mixed; boundary="a b"`
	good(d)
	d = newDraft(t, "post without a body")
	d.m.body, d.in.body, d.body = false, false, nil
	good(d)
	d = newDraft(t, "post to a SPIFFE ID")
	d.m.to = "spiffe://b.example/node"
	good(d)
	d = newDraft(t, "post to another port")
	d.v.Host, d.m.authority = "b.example:9077", "b.example:9077"
	good(d)
	d = newDraft(t, "host in upper case with the default port")
	d.v.Host = "B.Example:443"
	good(d)
	d = newDraft(t, "default port of the other scheme")
	d.v.Host, d.m.authority = "b.example:80", "b.example:80"
	good(d)
	d = newDraft(t, "plain http with its default port")
	d.v.Scheme, d.v.Host = "http", "b.example:80"
	good(d)
	d = newDraft(t, "IPv6 host")
	d.v.Host, d.m.authority = "[2001:DB8::1]:9077", "[2001:db8::1]:9077"
	good(d)
	d = newDraft(t, "authority rewritten by a proxy")
	d.v.Host, d.v.Authority = "10.0.0.7:8080", "b.example"
	good(d)
	d = newDraft(t, "the next key, published early")
	d.key = "a-next"
	good(d)
	d = newDraft(t, "created in the future, within the skew")
	d.in.created, d.in.expires = vectorNow+30, vectorNow+60
	good(d)
	d = newDraft(t, "expired, within the skew")
	d.in.created, d.in.expires = vectorNow-59, vectorNow-29
	good(d)
	d = newDraft(t, "shorter life")
	d.in.expires = vectorNow + 1
	good(d)
	d = newDraft(t, "signed again after a restart")
	d.v.Started, d.v.Epoch = vectorNow-1, "AAECAwQFBgc"
	copy(d.in.nonce[:], []byte{0, 1, 2, 3, 4, 5, 6, 7})
	good(d)
	d = newDraft(t, "long after a restart")
	d.v.Started, d.v.Epoch = vectorNow-31, "AAECAwQFBgc"
	good(d)
	d = newDraft(t, "the same Host beside the authority of HTTP/2").sign()
	d.add("Host", "b.example")
	all = append(all, d.done(""))
	good(newGet(t, "get", "/api/v1/sync/since", "/api/v1/sync/since", "?"))
	good(newGet(t, "get with a query", "/since?since=1&peer=a%20b", "/since", "?since=1&peer=a%20b"))
	good(newGet(t, "get the root", "/", "/", "?"))
	good(newGet(t, "escaped path", "/a%2Fb/c%20d//e;x=1", "/a%2Fb/c%20d//e;x=1", "?"))
	good(newGet(t, "question marks in the query", "/a?b?c=??", "/a", "?b?c=??"))

	bad("no Signature", TagSignatureMissing, nil, func(d *draft) { d.drop(HeaderSignature) })
	bad("no Signature-Input", TagSignatureMissing, nil, func(d *draft) { d.drop(HeaderSignatureInput) })
	bad("Signature twice", TagSignatureDoubled, nil, func(d *draft) { d.add(HeaderSignature, d.sig) })
	bad("Signature-Input twice", TagSignatureDoubled, nil, func(d *draft) { d.add(HeaderSignatureInput, d.input) })
	bad("two members in Signature", TagSignatureDoubled, nil, func(d *draft) { d.set(HeaderSignature, d.sig+", other=:AAAA:") })
	bad("two members in Signature-Input", TagSignatureDoubled, nil, func(d *draft) { d.set(HeaderSignatureInput, d.input+", other=()") })
	bad("empty Signature", TagSignatureEmpty, nil, func(d *draft) { d.set(HeaderSignature, "") })
	bad("empty Signature-Input", TagSignatureEmpty, nil, func(d *draft) { d.set(HeaderSignatureInput, "") })
	bad("oversized Signature", TagSignatureOversized, nil, func(d *draft) {
		d.set(HeaderSignature, "sig=:"+string(bytes.Repeat([]byte("A"), 600))+":")
	})
	bad("oversized Signature-Input", TagSignatureOversized, nil, func(d *draft) {
		d.set(HeaderSignatureInput, d.input+string(bytes.Repeat([]byte(";x=1"), 100)))
	})
	edit := func(from, to string) func(*draft) {
		return func(d *draft) {
			d.set(HeaderSignatureInput, string(bytes.Replace([]byte(d.input), []byte(from), []byte(to), 1)))
		}
	}
	bad("another label", TagSignatureMalformed, nil, edit("sig=", "sig1="))
	bad("a parameter more", TagSignatureMalformed, nil, func(d *draft) { d.set(HeaderSignatureInput, d.input+`;x="y"`) })
	bad("a space in the parameters", TagSignatureMalformed, nil, edit(";expires", "; expires"))
	bad("created with a leading zero", TagSignatureMalformed, nil, edit("created=1", "created=01"))
	bad("negative created", TagSignatureMalformed, nil, edit("created=", "created=-"))
	bad("created with 16 digits", TagSignatureMalformed, nil, edit("created=1764000000", "created=1764000000000000"))
	bad("no expires", TagSignatureMalformed, nil, edit(";expires=1764000030", ""))
	bad("signature in base64url", TagSignatureMalformed, nil, func(d *draft) {
		raw, _ := base64.StdEncoding.DecodeString(d.sig[5 : 5+88])
		d.set(HeaderSignature, "sig=:"+base64.URLEncoding.EncodeToString(append([]byte{0xff, 0xff}, raw[2:]...))+":")
	})
	bad("signature of 63 bytes", TagSignatureMalformed, nil, func(d *draft) {
		d.set(HeaderSignature, "sig=:"+base64.StdEncoding.EncodeToString(make([]byte, 63))+":")
	})
	bad("a component less", TagComponents, nil, edit(`"@query" `, ""))
	bad("no components", TagComponents, nil, edit(componentsBody, "()"))
	bad("components in another order", TagComponents, nil, edit(`"@method" "@authority"`, `"@authority" "@method"`))
	bad("a component twice", TagComponents, nil, edit(`"@method"`, `"@method" "@method"`))
	bad("a component with a parameter", TagComponents, nil, edit(`"@method"`, `"@method";req`))
	bad("another algorithm", TagAlgorithm, nil, edit(`alg="ed25519"`, `alg="hmac-sha256"`))
	bad("another tag", TagProfile, nil, edit(`tag="federation-v1"`, `tag="federation-v2"`))
	bad("nonce of 120 bits", TagNonce, nil, func(d *draft) {
		edit(base64.RawURLEncoding.EncodeToString(d.in.nonce[:]), "AAAAAAAAAAAAAAAAAAAA")(d)
	})
	bad("empty nonce", TagNonce, nil, func(d *draft) { edit(base64.RawURLEncoding.EncodeToString(d.in.nonce[:]), "")(d) })
	bad("nonce with loose bits", TagNonce, nil, func(d *draft) {
		edit(base64.RawURLEncoding.EncodeToString(d.in.nonce[:]), "AAAAAAAAAAAAAAAAAAAAAB")(d)
	})
	bad("short keyid", TagKeyID, nil, func(d *draft) { edit(d.in.keyID, "a")(d) })
	bad("a message of the ai-memory wire", TagWire, nil, func(d *draft) { d.add(HeaderMemorySig, "ed25519=") })
	bad("no Federation-To", TagFieldMissing, nil, func(d *draft) { d.drop(HeaderTo) })
	bad("no Federation-Op", TagFieldMissing, nil, func(d *draft) { d.drop(HeaderOperation) })
	bad("no Content-Type", TagFieldMissing, nil, func(d *draft) { d.drop("Content-Type") })
	bad("Federation-To twice", TagFieldDoubled, nil, func(d *draft) { d.add(HeaderTo, d.m.to) })
	bad("Federation-Op twice", TagFieldDoubled, nil, func(d *draft) { d.add(HeaderOperation, d.m.op) })
	bad("Content-Type twice", TagFieldDoubled, nil, func(d *draft) { d.add("Content-Type", d.m.contentType) })
	bad("Content-Digest twice", TagFieldDoubled, nil, func(d *draft) { d.add(HeaderContentDigest, d.m.digest) })
	bad("a space in Federation-To", TagFieldMalformed, func(d *draft) { d.m.to = "b .example" }, nil)
	bad("empty Federation-Op", TagFieldMalformed, func(d *draft) { d.m.op = "" }, nil)
	bad("a letter that is not ASCII in Content-Type", TagFieldMalformed, func(d *draft) { d.m.contentType = "text/plän" }, nil)
	bad("long Federation-Op", TagFieldOversized, func(d *draft) { d.m.op = string(bytes.Repeat([]byte("o"), 129)) }, nil)
	bad("long Content-Type", TagFieldOversized, func(d *draft) { d.m.contentType = string(bytes.Repeat([]byte("t"), 257)) }, nil)
	bad("method CONNECT", TagTarget, func(d *draft) { d.m.method, d.v.Method = "CONNECT", "CONNECT" }, nil)
	bad("target in absolute form", TagTarget, nil, func(d *draft) { d.v.Target = "https://b.example/api/v1/sync/push" })
	bad("bare question mark", TagTarget, nil, func(d *draft) { d.v.Target += "?" })
	bad("another Host beside the authority of HTTP/2", TagAuthority, nil, func(d *draft) { d.add("Host", "c.example") })
	bad("Host twice beside the authority of HTTP/2", TagAuthority, nil, func(d *draft) {
		d.add("Host", "b.example")
		d.add("Host", "b.example")
	})
	bad("host with user info", TagAuthority, nil, func(d *draft) { d.v.Host = "a@b.example" })
	bad("Content-Encoding", TagEncoding, nil, func(d *draft) { d.add("Content-Encoding", "gzip") })
	bad("no Content-Digest", TagDigestMissing, nil, func(d *draft) { d.drop(HeaderContentDigest) })
	bad("digest by SHA-512", TagDigestAlgorithm, nil, func(d *draft) {
		d.set(HeaderContentDigest, "sha-512=:"+base64.StdEncoding.EncodeToString(make([]byte, 64))+":")
	})
	bad("two digests", TagDigestAlgorithm, nil, func(d *draft) {
		d.set(HeaderContentDigest, d.m.digest+", sha-512=:"+base64.StdEncoding.EncodeToString(make([]byte, 64))+":")
	})
	bad("digest of 31 bytes", TagDigestMalformed, nil, func(d *draft) {
		d.set(HeaderContentDigest, "sha-256=:"+base64.StdEncoding.EncodeToString(make([]byte, 31))+":")
	})
	bad("digest of another body", TagDigest, func(d *draft) { d.sum = sha256.Sum256([]byte("other")) }, nil)
	bad("another body", TagDigest, nil, func(d *draft) { d.body[3] ^= 1 })
	bad("a body cut short", TagDigest, nil, func(d *draft) { d.body = d.body[:len(d.body)-1] })
	bad("another recipient", TagRecipient, func(d *draft) { d.m.to = "c.example" }, nil)
	bad("no peer", TagPeer, nil, func(d *draft) { d.v.Peer = "" })
	bad("a key nobody has", TagKeyUnknown, func(d *draft) { d.key = "nobody" }, nil)
	bad("the key of another peer", TagKeyUnknown, func(d *draft) { d.key = "c" }, nil)
	bad("signed by another peer's key under ours", TagSignature, nil, func(d *draft) {
		raw, _ := base64.StdEncoding.DecodeString(d.v.Base)
		d.set(HeaderSignature, string(appendSignature(nil, ed25519.Sign(seedKey(t, "c"), raw))))
	})
	bad("expired", TagExpired, func(d *draft) { d.in.created, d.in.expires = vectorNow-60, vectorNow-30 }, nil)
	bad("created in the future", TagFuture, func(d *draft) { d.in.created, d.in.expires = vectorNow+31, vectorNow+61 }, nil)
	bad("reversed times", TagWindow, func(d *draft) { d.in.expires = d.in.created - 1 }, nil)
	bad("no time at all", TagWindow, func(d *draft) { d.in.expires = d.in.created }, nil)
	bad("a life of 31 s", TagWindow, func(d *draft) { d.in.expires = d.in.created + 31 }, nil)
	bad("expires in the year 33658", TagWindow, func(d *draft) { d.in.expires = 999999999999 }, nil)
	bad("from before the start", TagSignAgain, func(d *draft) { d.v.Started, d.v.Epoch = vectorNow+1, "AAECAwQFBgc" }, nil)
	bad("perhaps from before the start", TagSignAgain, func(d *draft) { d.v.Started, d.v.Epoch = vectorNow-30, "AAECAwQFBgc" }, nil)
	bad("another method", TagSignature, nil, func(d *draft) { d.v.Method = "PUT" })
	bad("another path", TagSignature, nil, func(d *draft) { d.v.Target = "/api/v1/sync/pusH" })
	bad("a path with another escape", TagSignature, nil, func(d *draft) { d.v.Target = "/api/v1/sync/%70ush" })
	bad("a query more", TagSignature, nil, func(d *draft) { d.v.Target += "?a=1" })
	bad("another host", TagSignature, nil, func(d *draft) { d.v.Host = "c.example" })
	bad("another operation", TagSignature, nil, func(d *draft) { d.set(HeaderOperation, "op-2") })
	bad("another media type", TagSignature, nil, func(d *draft) { d.set("Content-Type", "text/plain") })
	bad("later expiry", TagSignature, nil, edit("expires=1764000030", "expires=1764000029"))
	bad("another nonce", TagSignature, nil, func(d *draft) {
		edit(base64.RawURLEncoding.EncodeToString(d.in.nonce[:]), "AAAAAAAAAAAAAAAAAAAAAA")(d)
	})
	bad("a flipped bit in the signature", TagSignature, nil, func(d *draft) {
		var raw [64]byte
		parseSignature(d.sig, &raw)
		raw[0] ^= 1
		d.set(HeaderSignature, string(appendSignature(nil, raw[:])))
	})
	bad("a body over the cap", TagBodyTooLarge, func(d *draft) {
		d.body = bytes.Repeat([]byte("x"), 1025)
		d.sum = sha256.Sum256(d.body)
	}, nil)
	bad("the same message again", TagReplayed, func(d *draft) { d.v.Repeat = true }, nil)
	d = newGet(t, "a body under the profile without one", "/", "/", "?").sign()
	d.body = []byte("x")
	all = append(all, d.done(TagBodyUnsigned))
	d = newGet(t, "a media type under the profile without a body", "/", "/", "?").sign()
	d.add("Content-Type", "text/plain")
	all = append(all, d.done(TagBodyUnsigned))
	return all
}

func memoryVectors(t testing.TB) []*vector {
	var all []*vector
	make1 := func(name string, tag Tag, body string, change func(v *vector, set func(name, value string))) {
		sum := sha256.Sum256([]byte(name))
		uuid := uuid4(Nonce(sum[:16]))
		signed := memoryBytes([]byte(body), uuid)
		v := &vector{
			Name: name, Wire: "ai-memory", Peer: "a", PeerID: "agent-a", Now: vectorNow, Method: "POST", Scheme: "https",
			Host: "b.example", Target: "/api/v1/sync/push", Body: base64.StdEncoding.EncodeToString([]byte(body)),
			Base: base64.StdEncoding.EncodeToString(signed), Tag: tag, Operation: "memory-1",
			Header: [][2]string{
				{"Content-Type", "application/json"},
				{HeaderMemorySig, memorySigHead + base64.StdEncoding.EncodeToString(ed25519.Sign(seedKey(t, "a"), signed))},
				{HeaderMemoryNonce, uuid},
				{HeaderPeerID, "agent-a"},
				{HeaderIdempotencyKey, "memory-1"},
			},
		}
		if change != nil {
			change(v, func(name, value string) {
				d := draft{v: v}
				d.drop(name)
				if value != "" {
					d.add(name, value)
				}
			})
		}
		if tag != "" {
			v.Base, v.Operation = "", ""
		}
		all = append(all, v)
	}
	type setter = func(name, value string)
	const push = `{"sender_agent_id":"agent-a","memories":[],"dry_run":false}`
	make1("push", "", push, nil)
	make1("push with a parameter after the signature", "", push, func(v *vector, set setter) {
		set(HeaderMemorySig, v.Header[1][1]+"; v=1")
	})
	make1("push without an idempotency key", "", push, func(v *vector, set setter) {
		v.Operation = ""
		set(HeaderIdempotencyKey, "")
	})
	make1("no body", "", "", nil)
	make1("a body that is not JSON", "", "hello", nil)
	make1("a body that is a statement", TagMemorySig, string(statementBytes("example/1", []byte("hello"))), nil)
	make1("no signature", TagMemorySigMissing, push, func(_ *vector, set setter) { set(HeaderMemorySig, "") })
	make1("no nonce", TagMemoryNonceMissing, push, func(_ *vector, set setter) { set(HeaderMemoryNonce, "") })
	make1("no peer id", TagMemoryPeerMissing, push, func(_ *vector, set setter) { set(HeaderPeerID, "") })
	make1("another scheme of signature", TagMemorySigMalformed, push, func(_ *vector, set setter) { set(HeaderMemorySig, "rsa=AAAA") })
	make1("signature twice", TagMemorySigMalformed, push, func(v *vector, _ setter) { v.Header = append(v.Header, v.Header[1]) })
	make1("nonce that is no UUID", TagMemoryNonce, push, func(_ *vector, set setter) { set(HeaderMemoryNonce, "1") })
	make1("another nonce", TagMemorySig, push, func(_ *vector, set setter) {
		set(HeaderMemoryNonce, "00000000-0000-4000-8000-000000000000")
	})
	make1("another body", TagMemorySig, push, func(v *vector, _ setter) { v.Body = base64.StdEncoding.EncodeToString([]byte(push + " ")) })
	make1("another peer's id", TagMemorySender, push, func(_ *vector, set setter) { set(HeaderPeerID, "agent-c") })
	make1("another sender in the body", TagMemorySender, `{"sender_agent_id":"agent-c"}`, nil)
	make1("two senders in the body", TagMemorySender, `{"sender_agent_id":"agent-c","sender_agent_id":"agent-a"}`, nil)
	make1("sender in another case", TagMemorySender, `{"Sender_Agent_Id":"agent-a"}`, nil)
	make1("a message of the federation wire", TagWire, push, func(v *vector, _ setter) {
		v.Header = append(v.Header, [2]string{HeaderSignature, "sig=:AAAA:"})
	})
	make1("Content-Encoding", TagEncoding, push, func(v *vector, _ setter) {
		v.Header = append(v.Header, [2]string{"Content-Encoding", "gzip"})
	})
	make1("a peer without keys", TagKeyUnknown, push, func(v *vector, _ setter) { v.Peer = "d" })
	make1("a body over the cap", TagBodyTooLarge, string(bytes.Repeat([]byte(" "), 1025)), nil)
	make1("the same message again", TagMemoryReplay, push, func(v *vector, _ setter) { v.Repeat = true })
	return all
}

func newVectorFile(t testing.TB, description string, vectors []*vector) *vectorFile {
	return &vectorFile{
		Description: description,
		Seeds:       vectorSeeds,
		Keys: map[string][]string{
			"a": {seedPublic(t, "a"), seedPublic(t, "a-next")},
			"c": {seedPublic(t, "c")},
		},
		Recipients: []string{"b.example", "spiffe://b.example/node"},
		MaxAge:     30, Skew: 30, MaxBody: 1024,
		Vectors: vectors,
	}
}

// statementVector is one statement.
type statementVector struct {
	Name      string `json:"name"`
	Key       string `json:"key"` // base64url
	Domain    string `json:"domain"`
	Payload   string `json:"payload_base64"`
	Signed    string `json:"signed_base64"`
	Signature string `json:"signature_base64"`
	OK        bool   `json:"ok"`
}

func statementVectors(t testing.TB) []statementVector {
	var all []statementVector
	add := func(name, domain string, payload []byte, change func(*statementVector)) {
		signed := statementBytes(domain, payload)
		v := statementVector{
			Name: name, Key: seedPublic(t, "a"), Domain: domain, OK: change == nil,
			Payload: base64.StdEncoding.EncodeToString(payload), Signed: base64.StdEncoding.EncodeToString(signed),
			Signature: base64.StdEncoding.EncodeToString(ed25519.Sign(seedKey(t, "a"), signed)),
		}
		if change != nil {
			change(&v)
		}
		all = append(all, v)
	}
	add("text", "example/1", []byte("hello"), nil)
	add("empty payload", "example/1", nil, nil)
	add("all bytes", "example/1", func() (b []byte) {
		for i := range 256 {
			b = append(b, byte(i))
		}
		return b
	}(), nil)
	add("longest domain", string(bytes.Repeat([]byte("d"), MaxDomain)), []byte("x"), nil)
	add("another domain", "example/1", []byte("hello"), func(v *statementVector) { v.Domain = "example/2" })
	add("a shifted border", "example/1", []byte("hello"), func(v *statementVector) {
		v.Domain, v.Payload = "example/1h", base64.StdEncoding.EncodeToString([]byte("ello"))
	})
	add("another payload", "example/1", []byte("hello"), func(v *statementVector) {
		v.Payload = base64.StdEncoding.EncodeToString([]byte("hellO"))
	})
	add("another key", "example/1", []byte("hello"), func(v *statementVector) { v.Key = seedPublic(t, "c") })
	add("the bare payload signed", "example/1", []byte("hello"), func(v *statementVector) {
		v.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(seedKey(t, "a"), []byte("hello")))
	})
	add("a key of small order", "example/1", []byte("hello"), func(v *statementVector) {
		v.Key = base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...))
		v.Signature = base64.StdEncoding.EncodeToString(append([]byte{1}, make([]byte, 63)...))
	})
	return all
}

func writeOrCompare(t *testing.T, name string, value any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(value); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is not what the code makes; go test ./signer -run Vectors -update writes it", path)
	}
	return have
}

func TestVectorsAreCurrentAndHold(t *testing.T) {
	total := 0
	seen := map[Tag]bool{}
	for name, file := range map[string]*vectorFile{
		"federation.json": newVectorFile(t, "Messages of the federation wire, as they arrive at b.example.", federationVectors(t)),
		"ai-memory.json":  newVectorFile(t, "Messages of the ai-memory wire, as they arrive at b.example.", memoryVectors(t)),
	} {
		var read vectorFile
		if err := json.Unmarshal(writeOrCompare(t, name, file), &read); err != nil {
			t.Fatal(err)
		}
		total += len(read.Vectors)
		for _, v := range read.Vectors {
			seen[v.Tag] = true
			t.Run(name+"/"+v.Name, func(t *testing.T) { checkVector(t, &read, v) })
		}
	}
	if total < 40 {
		t.Errorf("%d vectors, want at least 40", total)
	}
	for _, tag := range Tags() {
		switch tag {
		case TagKeyUnavailable, TagBodyStalled, TagBodyUnreadable, TagReplayFull, TagReplayQuota, TagReplayUnavailable:
			// states of the receiver, which no message brings about
		default:
			if !seen[tag] {
				t.Errorf("no vector for %s", tag)
			}
		}
	}
}

func checkVector(t *testing.T, f *vectorFile, v *vector) {
	got, err := judge(t, f, v)
	if v.Tag == "" {
		if err != nil {
			t.Fatal(err)
		}
		if got.Operation != v.Operation {
			t.Errorf("operation %q, want %q", got.Operation, v.Operation)
		}
		return
	}
	var r *Refusal
	if !errors.As(err, &r) || r.Tag != v.Tag {
		t.Fatalf("got %v, want %s", err, v.Tag)
	}
	if v.Tag == TagSignAgain && r.Epoch != v.Epoch {
		t.Errorf("epoch %q, want %q", r.Epoch, v.Epoch)
	}
}

// judge lets a verifier as f says it decide about a message.
func judge(t *testing.T, f *vectorFile, v *vector) (*Verified, error) {
	t.Helper()
	var peers []DirectoryPeer
	for name, keys := range f.Keys {
		peers = append(peers, DirectoryPeer{Name: name, Keys: rawKeys(t, keys)})
	}
	keys, err := NewKeyDirectory(DirectoryConfig{Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = keys.Close() }()
	clock := func() time.Time { return time.Unix(v.Now, 0) }
	store := forever{newReplayCache(ReplayCacheConfig{Clock: clock, Capacity: 16}), time.Time{}}
	if v.Started != 0 {
		store.since = time.Unix(v.Started, 0)
	}
	verifier, err := NewVerifier(VerifierConfig{
		Keys: keys, Recipient: Names(f.Recipients...), Replay: store, AIMemoryReplay: store, Authority: v.Authority, Clock: clock,
		MaxAge: time.Duration(f.MaxAge) * time.Second, Skew: time.Duration(f.Skew) * time.Second, MaxBody: f.MaxBody,
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.Epoch != "" {
		verifier.epoch, _ = parseEpoch(v.Epoch)
	}
	from := From{Peer: v.Peer, PeerID: v.PeerID}
	if v.Wire == "ai-memory" {
		from.Wire = WireAIMemory
	}
	if v.Repeat {
		if _, err := verifier.Verify(vectorRequest(t, v), from); err != nil {
			t.Fatalf("first time: %v", err)
		}
	}
	return verifier.Verify(vectorRequest(t, v), from)
}

func rawKeys(t testing.TB, keys []string) (all []crypto.PublicKey) {
	t.Helper()
	for _, k := range keys {
		raw, err := base64.RawURLEncoding.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ed25519.PublicKey(raw))
	}
	return all
}

// forever remembers since a given time.
type forever struct {
	*ReplayCache
	since time.Time
}

func (f forever) Since() time.Time { return f.since }

func vectorRequest(t *testing.T, v *vector) *http.Request {
	body, err := base64.StdEncoding.DecodeString(v.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, v.Scheme+"://placeholder.example/", nil)
	r.Method, r.Host, r.RequestURI = v.Method, v.Host, v.Target
	r.Header = http.Header{}
	for _, h := range v.Header {
		r.Header.Add(h[0], h[1])
	}
	r.ContentLength = int64(len(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

func TestStatementVectorsAreCurrentAndHold(t *testing.T) {
	type file struct {
		Description string            `json:"description"`
		Vectors     []statementVector `json:"vectors"`
	}
	var read file
	if err := json.Unmarshal(writeOrCompare(t, "statements.json", file{"Statements.", statementVectors(t)}), &read); err != nil {
		t.Fatal(err)
	}
	for _, v := range read.Vectors {
		pub, err1 := base64.RawURLEncoding.DecodeString(v.Key)
		payload, err2 := base64.StdEncoding.DecodeString(v.Payload)
		sig, err3 := base64.StdEncoding.DecodeString(v.Signature)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if err := VerifyStatement(pub, v.Domain, payload, sig); (err == nil) != v.OK {
			t.Errorf("%s: got %v, want ok %v", v.Name, err, v.OK)
		}
	}
}
