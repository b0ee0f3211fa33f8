package sdk_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/alphaonedev/federation/sdk"
)

// A connection that dies under a request for keys, as one is cut whose certificate a rotation has just ended, does not make
// the peer one whose keys cannot be had.
func TestARequestForKeysSurvivesItsConnection(t *testing.T) {
	var asked atomic.Int64
	var serving atomic.Pointer[sdk.Federation]
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		serving.Load().KeyDirectory().ServeHTTP(w, r)
	}))
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	t.Cleanup(front.Close)
	m := newMesh(t, 2, echo, func(n *node, b *sdk.Builder) {
		b.Quorum.Writes = 1
		if n.name == "a" {
			b.Peers[0].URL = "https://" + front.Listener.Addr().String()
		}
	})
	a, b := m.nodes[0], m.nodes[1]
	serving.Store(b.fed)
	front.TLS.Certificates = []tls.Certificate{*b.identity.cert}
	front.StartTLS()
	if err := a.fed.Check(t.Context()).Err(); err != nil || asked.Load() != 2 {
		t.Errorf("%v after %d requests, want the keys with the second", err, asked.Load())
	}
}

// Whatever the server shows, a handshake with nobody says that the name is no peer's.
func TestClientTLSOfNobodySaysSo(t *testing.T) {
	m := newMesh(t, 2, echo, nil)
	a, b := m.nodes[0], m.nodes[1]
	c, err := tls.Dial("tcp", b.listener.Addr().String(), a.fed.ClientTLS("nobody"))
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, sdk.ErrConfig) {
		t.Errorf("%v, want ErrConfig", err)
	}
}
