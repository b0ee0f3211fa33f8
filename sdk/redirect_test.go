package sdk_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestARedirectToAnotherPeerOfTheSameOriginIsNotFollowed(t *testing.T) {
	ca := sdktest.NewCA(t)
	var stolen atomic.Bool
	mux := http.NewServeMux()
	mux.Handle("/b/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
	}))
	mux.HandleFunc("/b/here", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/c/", func(http.ResponseWriter, *http.Request) { stolen.Store(true) })
	srv := httptest.NewUnstartedServer(mux)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{*ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example", "c.example"}}).TLS}}
	srv.StartTLS()
	defer srv.Close()
	fed, err := sdk.Builder{
		Trust: &source{roots: []*x509.Certificate{ca.Certificate}},
		Peers: []sdk.Peer{
			{Name: "b", URL: srv.URL + "/b", ServerName: "b.example"},
			{Name: "c", URL: srv.URL + "/c", ServerName: "c.example"},
		},
		Quorum: quorum.Policy{Writes: 1},
	}.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer fed.Close()
	post := func(to string) error {
		resp, err := fed.Client().Post(srv.URL+"/b/x?to="+to, "text/plain", strings.NewReader("secret"))
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := post("/b/here"); err != nil {
		t.Errorf("a redirect to the same peer: %v", err)
	}
	if err := post("/c/steal"); err == nil || !strings.Contains(err.Error(), "redirect") || stolen.Load() {
		t.Errorf("a redirect to another peer: %v, stolen %v; want it refused", err, stolen.Load())
	}
	if err := post("/nobody"); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("a redirect to no peer: %v, want it refused", err)
	}
}
