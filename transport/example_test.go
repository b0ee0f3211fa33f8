package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// Two members on loopback; the identity of one changes, and its next request rides a connection that was
// handshaken with the new certificate beforehand.
func ExampleNew() {
	ca := exampleCA()
	server, addr := exampleServer(ca)
	defer server.Close()

	t, err := transport.New(transport.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	material := transport.Material{
		Identity: exampleIdentity(ca, "a.example"),
		Trust:    &transport.Trust{Roots: []*x509.Certificate{ca.Certificate}},
		Peers:    []transport.Peer{{Name: "b", URL: "https://" + addr, ServerName: "b.example"}},
	}
	ctx := context.Background()
	if err := t.Update(ctx, material); err != nil {
		log.Fatal(err)
	}

	client := &http.Client{Transport: t}
	post := func() {
		resp, err := client.Post("https://"+addr+"/greet", "text/plain", strings.NewReader("hello"))
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		fmt.Println(string(answer))
	}
	post()
	material.Identity = exampleIdentity(ca, "a.example")
	if err := t.Update(ctx, material); err != nil {
		log.Fatal(err)
	}
	post()
	s := t.Stats().Peers[0]
	fmt.Printf("%d cold, %d on a warmed connection\n", s.Cold, s.Warm)
	// Output:
	// hello, a
	// hello, a
	// 1 cold, 1 on a warmed connection
}

func exampleCA() *sdktest.CA { return sdktest.NewCA(exampleTB{}) }

func exampleIdentity(ca *sdktest.CA, name string) *tls.Certificate {
	return ca.Issue(exampleTB{}, sdktest.Leaf{DNS: []string{name}}).TLS
}

// exampleServer is a member that greets whoever it recognises.
func exampleServer(ca *sdktest.CA) (io.Closer, string) {
	t, err := transport.New(transport.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = t.Update(context.Background(), transport.Material{
		Identity: exampleIdentity(ca, "b.example"),
		Trust:    &transport.Trust{Roots: []*x509.Certificate{ca.Certificate}},
		Peers:    []transport.Peer{{Name: "a", URL: "https://a.example"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{IdleTimeout: transport.ServerIdleTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := t.Identify(r.TLS)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s, %s", body, p.Name)
	})}
	go func() { _ = server.Serve(t.Listener(l)) }()
	return closers{server, t}, l.Addr().String()
}

type closers []io.Closer

func (c closers) Close() error {
	for _, x := range c {
		_ = x.Close()
	}
	return nil
}

// exampleTB lets sdktest be used outside a test.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper()                   {}
func (exampleTB) Fatalf(f string, a ...any) { log.Fatalf(f, a...) }
