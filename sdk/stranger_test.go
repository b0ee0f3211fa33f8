package sdk_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/alphaonedev/federation/signer"
)

// A stranger has a peer's certificate and key, and writes what goes over the wire by itself, byte for byte, as
// docs/wire.md says. It shares no code with the signer.
type stranger struct {
	ca    *x509.Certificate
	cert  *tls.Certificate
	key   signer.Key
	addr  string
	epoch string // what the recipient wants nonces to open with
}

// A letterhead is one message, of which every part can be made wrong.
type letterhead struct {
	method, target, host string
	path                 string // as signed; "": of target
	authority            string // as signed; "": host
	contentType          string
	to, op               string
	digest               string // "": of body
	body                 []byte
	bare                 bool // without a body
	created, expires     int64
	nonce, keyID         string
	input, sig           string // filled in by sign
	fields               [][2]string
	chunked              bool
}

func newLetterhead() *letterhead {
	now := time.Now().Unix()
	return &letterhead{
		method: "POST", target: "/x", host: "b.example", contentType: "text/plain", to: "b.example", op: "op-" + rand.Text(),
		body: []byte("hello"), created: now, expires: now + 30,
	}
}

func (s *stranger) sign(t *testing.T, l *letterhead) {
	t.Helper()
	if l.nonce == "" {
		var raw [16]byte
		rand.Read(raw[:])
		if s.epoch != "" {
			e, err := base64.RawURLEncoding.DecodeString(s.epoch)
			if err != nil || len(e) != 8 {
				t.Fatalf("epoch %q", s.epoch)
			}
			copy(raw[:], e)
		}
		l.nonce = base64.RawURLEncoding.EncodeToString(raw[:])
	}
	if l.keyID == "" {
		l.keyID = signer.Thumbprint(s.key.Public().(ed25519.PublicKey))
	}
	path, query, _ := strings.Cut(l.target, "?")
	if l.path != "" {
		path = l.path
	}
	query = "?" + query
	authority := l.authority
	if authority == "" {
		authority = l.host
	}
	components := []string{"@method", l.method, "@authority", authority, "@path", path, "@query", query}
	if !l.bare {
		if l.digest == "" {
			sum := sha256.Sum256(l.body)
			l.digest = "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
		}
		components = append(components, "content-type", l.contentType, "content-digest", l.digest)
	}
	components = append(components, "federation-to", l.to, "federation-op", l.op)
	var names []string
	var base strings.Builder
	for i := 0; i < len(components); i += 2 {
		names = append(names, `"`+components[i]+`"`)
		fmt.Fprintf(&base, "%q: %s\n", components[i], components[i+1])
	}
	params := fmt.Sprintf(`(%s);created=%d;expires=%d;nonce="%s";keyid="%s";alg="ed25519";tag="federation-v1"`, strings.Join(names, " "), l.created, l.expires, l.nonce, l.keyID)
	base.WriteString(`"@signature-params": ` + params)
	sig, err := s.key.Sign(t.Context(), []byte(base.String()))
	if err != nil {
		t.Fatal(err)
	}
	l.input, l.sig = "sig="+params, "sig=:"+base64.StdEncoding.EncodeToString(sig)+":"
	l.fields = nil
	if !l.bare {
		l.fields = append(l.fields, [2]string{"Content-Type", l.contentType}, [2]string{"Content-Digest", l.digest})
	}
	l.fields = append(l.fields, [2]string{"Federation-To", l.to}, [2]string{"Federation-Op", l.op}, [2]string{"Signature-Input", l.input}, [2]string{"Signature", l.sig})
}

func (l *letterhead) noBody() { l.bare, l.body = true, nil }

func (l *letterhead) put(name, value string) { l.fields = append(l.fields, [2]string{name, value}) }

// set leaves a field there once for each value.
func (l *letterhead) set(name string, values ...string) {
	var kept [][2]string
	for _, f := range l.fields {
		if !strings.EqualFold(f[0], name) {
			kept = append(kept, f)
		}
	}
	l.fields = kept
	for _, v := range values {
		l.put(name, v)
	}
}

func (s *stranger) dial(t *testing.T, proto string) *tls.Conn {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.ca)
	d := tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{*s.cert}, RootCAs: roots, ServerName: "b.example", NextProtos: []string{proto}}}
	c, err := d.DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*tls.Conn)
}

type reply struct {
	status int
	tag    string
	epoch  string
	body   string
	header http.Header
}

// send1 sends a message over HTTP/1.1.
func (s *stranger) send1(t *testing.T, l *letterhead) (reply, error) {
	t.Helper()
	c := s.dial(t, "http/1.1")
	defer c.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", l.method, l.target, l.host)
	for _, f := range l.fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	switch {
	case l.chunked:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n")
		if len(l.body) > 0 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(l.body), l.body)
		}
		b.WriteString("0\r\n\r\n")
	case len(l.body) > 0 || !l.bare:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(l.body), l.body)
	default:
		b.WriteString("\r\n")
	}
	go c.Write(b.Bytes())
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: l.method})
	if err != nil {
		return reply{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header.Get("Federation-Refusal"), resp.Header.Get("Federation-Epoch"), string(body), resp.Header}, err
}

// send2 sends a message over HTTP/2.
func (s *stranger) send2(t *testing.T, l *letterhead) (reply, error) {
	t.Helper()
	c := s.dial(t, "h2")
	defer c.Close()
	io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.WriteSettings()
	var hb bytes.Buffer
	enc := hpack.NewEncoder(&hb)
	put := func(k, v string) { enc.WriteField(hpack.HeaderField{Name: k, Value: v}) }
	put(":method", l.method)
	put(":scheme", "https")
	put(":authority", l.host)
	if l.method != "CONNECT" {
		put(":path", l.target)
	}
	for _, f := range l.fields {
		put(strings.ToLower(f[0]), f[1])
	}
	block := hb.Bytes()
	first := true
	for first || len(block) > 0 {
		n := min(len(block), 16<<10)
		end := n == len(block)
		if first {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:n], EndHeaders: end, EndStream: len(l.body) == 0})
		} else {
			fr.WriteContinuation(1, end, block[:n])
		}
		first, block = false, block[n:]
	}
	if len(l.body) > 0 {
		fr.WriteData(1, true, l.body)
	}
	var r reply
	r.header = http.Header{}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return r, err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				switch h.Name {
				case ":status":
					fmt.Sscan(h.Value, &r.status)
				case "federation-refusal":
					r.tag = h.Value
				case "federation-epoch":
					r.epoch = h.Value
				}
				r.header.Add(h.Name, h.Value)
			}
			if f.StreamEnded() {
				return r, nil
			}
		case *http2.DataFrame:
			r.body += string(f.Data())
			if f.StreamEnded() {
				return r, nil
			}
		case *http2.RSTStreamFrame:
			if r.status != 0 {
				return r, nil
			}
			return r, fmt.Errorf("reset: %v", f.ErrCode)
		case *http2.GoAwayFrame:
			return r, fmt.Errorf("goaway: %v", f.ErrCode)
		}
	}
}
