package signer_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/signer"
)

func TestVerifyAcceptsWhatSignMakes(t *testing.T) {
	for name, c := range map[string]struct {
		method, url, body, contentType, operation string
		noBody                                    bool
	}{
		"post":               {"POST", pushURL, `{"a":1}`, "application/json", "op-1", false},
		"post without type":  {"POST", pushURL, `{"a":1}`, "", "op-1", false},
		"get":                {"GET", "https://b.example/x", "", "", "", true},
		"get the root":       {"GET", "https://b.example", "", "", "", true},
		"escaped path":       {"GET", "https://b.example/a%2fb/c%20d//e;x=1?q=%2F&r=?", "", "", "op", true},
		"upper case host":    {"GET", "https://B.Example:443/x", "", "", "op", true},
		"other port":         {"GET", "https://b.example:9077/x", "", "", "op", true},
		"IPv6":               {"GET", "https://[2001:DB8::1]:9077/x", "", "", "op", true},
		"empty body, a type": {"POST", pushURL, "", "application/json", "op-1", true},
		"unusual method":     {"PURGE", pushURL, "", "", "op-1", true},
		"type with space":    {"POST", pushURL, "x", `multipart/mixed; boundary="a b"`, "op-1", false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			var body io.Reader
			if !c.noBody {
				body = strings.NewReader(c.body)
			}
			req, err := http.NewRequestWithContext(t.Context(), c.method, c.url, body)
			if err != nil {
				t.Fatal(err)
			}
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			if err := n.signer.Sign(req, signer.Audience{To: "b.example", Operation: c.operation}); err != nil {
				t.Fatal(err)
			}
			got, err := n.verifier.Verify(received(t, req), signer.From{Peer: "a"})
			if err != nil {
				t.Fatal(err)
			}
			if got.Peer != "a" || got.KeyID != n.signer.KeyID() || got.To != "b.example" || got.Operation != c.operation ||
				string(got.Body) != c.body || !got.Created.Equal(start) || !got.Expires.Equal(start.Add(signer.DefaultExpiry)) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestVerifiedBodyCanBeReadAgain(t *testing.T) {
	n := newNode(t)
	r := n.signed(t, "hello")
	if _, err := n.verifier.Verify(r, signer.From{Peer: "a"}); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
}
