package signer_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/alphaonedev/federation/signer"
)

func ExampleKeyOf() {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	key, err := signer.KeyOf(private) // or any crypto.Signer with an Ed25519 key
	if err != nil {
		panic(err)
	}
	sig, err := signer.SignStatement(context.Background(), key, "example/1", []byte("hello"))
	if err != nil {
		panic(err)
	}
	err = signer.VerifyStatement(private.Public().(ed25519.PublicKey), "example/1", []byte("hello"), sig)
	fmt.Println("holds:", err == nil)
	// Output: holds: true
}

func ExampleNew() {
	key, err := signer.KeyOf(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		panic(err)
	}
	s, err := signer.New(signer.Config{Key: key})
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequest(http.MethodPost, "https://b.example/push", strings.NewReader("hello"))
	if err != nil {
		panic(err)
	}
	// Once for every attempt: a receiver takes a nonce once.
	if err := s.Sign(req, signer.Audience{To: "b.example", Operation: "op-1"}); err != nil {
		panic(err)
	}
	fmt.Println(s.KeyID())
	fmt.Println(req.Header.Get("Content-Digest"))
	// Output:
	// 9ZP03Nu8GrXPAUkbKNxHOKBzxPX83SShgFkRNK-f2lw
	// sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:
}

func ExampleNewVerifier() {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys, err := signer.NewKeyDirectory(signer.DirectoryConfig{
		Peers: []signer.DirectoryPeer{{Name: "a", Keys: []crypto.PublicKey{private.Public()}}},
	})
	if err != nil {
		panic(err)
	}
	defer keys.Close()
	verifier, err := signer.NewVerifier(signer.VerifierConfig{Keys: keys, Recipient: signer.Names("b.example")})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// With mutual TLS the name comes from the client's certificate.
		got, err := verifier.Verify(r, signer.From{Peer: "a", Response: w})
		if err != nil {
			signer.WriteRefusal(w, err)
			return
		}
		fmt.Fprintf(w, "%s says %q", got.Peer, got.Body)
	}))
	defer server.Close()

	key, err := signer.KeyOf(private)
	if err != nil {
		panic(err)
	}
	s, err := signer.New(signer.Config{Key: key})
	if err != nil {
		panic(err)
	}
	to := signer.Audience{To: "b.example", Content: signer.NewContent([]byte("hello"))}
	for range 2 { // the receiver has just started, and asks once to have the message signed again
		req, err := http.NewRequest(http.MethodPost, server.URL, nil)
		if err != nil {
			panic(err)
		}
		if err := s.Sign(req, to); err != nil {
			panic(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(strings.TrimSpace(string(text)))
		if !signer.IsSignAgain(resp) {
			break
		}
		to.Epoch = signer.EpochOf(resp)
	}
	// Output:
	// {"error":"sign_again"}
	// a says "hello"
}

func ExampleNewKeyDirectory() {
	pub := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	peer := httptest.NewServer(signer.DirectoryHandler(func() signer.KeySetView {
		return signer.KeySetView{Keys: []signer.PublishedKey{{Key: pub}}}
	}))
	defer peer.Close()
	keys, err := signer.NewKeyDirectory(signer.DirectoryConfig{
		Peers: []signer.DirectoryPeer{{Name: "a"}},
		Fetch: signer.HTTPFetch(http.DefaultTransport, func(string) string { return peer.URL }), // over mutual TLS
	})
	if err != nil {
		panic(err)
	}
	defer keys.Close()
	found, err := keys.Key(context.Background(), "a", signer.Thumbprint(pub))
	fmt.Println(pub.Equal(found), err)
	// Output: true <nil>
}
