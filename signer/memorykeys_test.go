package signer_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/alphaonedev/federation/signer"
)

// memoryWorld is a verifier of the ai-memory wire that asks a peer for its keys, and that peer with any of its keys.
func memoryWorld(t *testing.T) (w *world, verify func(seed byte) error) {
	w = newWorld(t, signer.DirectoryConfig{})
	v, err := signer.NewVerifier(signer.VerifierConfig{Keys: w.KeyDirectory, Recipient: signer.Names("b.example")})
	if err != nil {
		t.Fatal(err)
	}
	return w, func(seed byte) error {
		s, err := signer.New(signer.Config{Key: testKey(t, seed), PeerID: "agent-a"})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pushURL, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Sign(req, signer.Audience{Wire: signer.WireAIMemory}); err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(received(t, req), signer.From{Peer: "a", Wire: signer.WireAIMemory})
		return err
	}
}

func TestAnAIMemoryMessageMayBeSignedWithAnyKeyThatIsPublished(t *testing.T) {
	w, verify := memoryWorld(t)
	var seeds []byte
	for i := range byte(signer.MaxDirectoryKeys) {
		seeds = append(seeds, i+1)
	}
	w.publish("a", seeds...)
	for _, seed := range seeds {
		if err := verify(seed); err != nil {
			t.Errorf("key %d: %v", seed, err)
		}
	}
	if w.count("a") != 1 {
		t.Errorf("%d fetches, want 1", w.count("a"))
	}
}

func TestAnAIMemoryMessageSignedWithANewKeyMakesTheVerifierAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, verify := memoryWorld(t)
		w.publish("a", 1)
		if err := verify(1); err != nil {
			t.Fatal(err)
		}
		w.publish("a", 2, 1)
		for _, seed := range []byte{2, 1} {
			if err := verify(seed); err != nil {
				t.Errorf("after the rotation, key %d: %v", seed, err)
			}
		}
		for range 100 { // forged
			if tag := tagOf(t, verify(3)); tag != signer.TagMemorySig {
				t.Fatalf("got %q, want %q", tag, signer.TagMemorySig)
			}
		}
		if n := w.count("a"); n > 5 {
			t.Errorf("%d fetches in a burst of forgeries, want at most 5", n)
		}
	})
}
