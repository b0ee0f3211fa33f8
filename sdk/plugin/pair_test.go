package plugin_test

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// A pair is two nodes: a has its identity from a plugin, and its signing key where keys says so; b is in the
// process, answers with what it is sent, and takes what is signed and what is not.
type pair struct {
	a      *sdk.Federation
	plugin *plugin.Plugin
	folder *movable
	url    string        // of b
	signed chan []string // the Signature-Input of requests, as long as it has room
}

func newPair(t *testing.T, watch string, keys bool) *pair {
	t.Helper()
	c, m, _ := movableConfig(t)
	c.Settings["watch"] = watch
	nothingLeft(t, &c)
	c.Logger = nil
	p := &pair{plugin: open(t, c), folder: m, signed: make(chan []string, 100)}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.url = "https://" + listener.Addr().String()
	trust := sdk.TrustFunc(func(context.Context) (*sdk.TrustBundle, error) {
		return &sdk.TrustBundle{Roots: []*x509.Certificate{m.ca.Certificate}}, nil
	})
	of := m.ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}}).TLS
	node := func(b sdk.Builder) *sdk.Federation {
		b.Trust, b.Quorum = trust, quorum.Policy{Writes: quorum.Majority}
		fed, err := b.Build(within(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = fed.Close() })
		return fed
	}
	b := node(sdk.Builder{
		Identity: sdk.IdentityFunc(func(context.Context) (*sdk.Identity, error) { return &sdk.Identity{Certificate: of}, nil }),
		Peers:    []sdk.Peer{{Name: "a", URL: "https://127.0.0.1:1", ServerName: "a.example"}},
	})
	server := b.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.signed <- r.Header["Signature-Input"]:
		default:
		}
		_, _ = io.Copy(w, r.Body)
	}))
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	builder := sdk.Builder{
		Identity: must(p.plugin.Identity()),
		Peers:    []sdk.Peer{{Name: "b", URL: p.url, ServerName: "b.example"}},
	}
	if keys {
		builder.Key = must(p.plugin.Key())
	}
	p.a = node(builder)
	return p
}

// send sends one request with an operation id, as a push does, and returns how long its answer took.
func (p *pair) send(operation string) (time.Duration, error) {
	began := time.Now()
	ctx := transport.WithOperation(context.Background(), operation)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader("hello"))
	if err != nil {
		return 0, err
	}
	resp, err := p.a.Client().Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return time.Since(began), err
}
