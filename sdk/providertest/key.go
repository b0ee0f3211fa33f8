package providertest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/alphaonedev/federation/sdk"
)

var keyRole = role[sdk.KeyProvider, *sdk.KeySet]{
	pull: func(ctx context.Context, p sdk.KeyProvider) (*sdk.KeySet, error) {
		return p.SigningKeys(ctx)
	},
	inspect: inspectKeys,
	print:   printKeys,
	secrets: func(s *sdk.KeySet) []string {
		if s == nil {
			return nil
		}
		return spellings(s.Active)
	},
	extra: map[string]func(tb, *suite[sdk.KeyProvider, *sdk.KeySet]){
		"Sign":               sign,
		"SignAcrossRotation": signAcrossRotation,
	},
}

func inspectKeys(t tb, s *sdk.KeySet) {
	t.Helper()
	if s == nil || s.Active == nil {
		t.Error("the key set, or its Active, is nil without an error")
		return
	}
	if s.RefreshAfter < 0 {
		t.Errorf("RefreshAfter is %v, want 0 or more", s.RefreshAfter)
	}
	if pub, ok := s.Active.Public().(ed25519.PublicKey); !ok || len(pub) != ed25519.PublicKeySize {
		t.Errorf("Active's public key is %T, want an ed25519.PublicKey of %d bytes", s.Active.Public(), ed25519.PublicKeySize)
	}
	for i, k := range s.Published {
		if pub, ok := k.(ed25519.PublicKey); !ok || len(pub) != ed25519.PublicKeySize {
			t.Errorf("Published[%d] is %T, want an ed25519.PublicKey of %d bytes", i, k, ed25519.PublicKeySize)
		}
	}
}

func printKeys(s *sdk.KeySet) string {
	if s == nil || s.Active == nil {
		return "nil"
	}
	parts := make([]string, 0, len(s.Published))
	for _, k := range s.Published {
		parts = append(parts, "also "+printKey(k))
	}
	slices.Sort(parts)
	return strings.Join(append([]string{printKey(s.Active.Public())}, parts...), " ")
}

func sign(t tb, s *suite[sdk.KeyProvider, *sdk.KeySet]) {
	ctx, cancel := context.WithTimeout(context.Background(), s.h.Timeout)
	defer cancel()
	key := s.must(t, s.h.New(t)).Active
	pub, _ := key.Public().(ed25519.PublicKey)
	var wg sync.WaitGroup
	for _, message := range [][]byte{{}, []byte("m"), bytes.Repeat([]byte("message "), 1<<13)} {
		given := bytes.Clone(message)
		for range 4 {
			wg.Go(func() {
				sig, err := key.Sign(ctx, message)
				if err != nil {
					t.Errorf("signing %d bytes: %v", len(message), err)
					return
				}
				if len(sig) != ed25519.SignatureSize || !ed25519.Verify(pub, given, sig) {
					t.Errorf("the signature over %d bytes does not verify under the key's public key", len(message))
				}
			})
		}
	}
	if !within(2*s.h.Timeout, wg.Wait) {
		t.Fatal("signing goes on after its context ended")
	}

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var err error
	if !within(s.h.Timeout, func() { _, err = key.Sign(ended, []byte("m")) }) {
		t.Fatal("Sign with a context that has ended does not return")
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Sign with a context that has ended: error is %v, want one that wraps %v", err, context.Canceled)
	}
}

// signAcrossRotation holds that a Key is one version: after a rotation it signs as before or not at all.
func signAcrossRotation(t tb, s *suite[sdk.KeyProvider, *sdk.KeySet]) {
	if s.h.Rotate == nil {
		t.Skip("the harness has no Rotate")
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.h.Timeout)
	defer cancel()
	p := s.h.New(t)
	old := s.must(t, p).Active
	pub, _ := old.Public().(ed25519.PublicKey)
	pub = bytes.Clone(pub)
	s.h.Rotate(t)
	next := s.must(t, p).Active
	if now, _ := old.Public().(ed25519.PublicKey); !pub.Equal(now) {
		t.Error("the public key of a Key that was handed out changed with the rotation")
	}
	message := []byte("message")
	if sig, err := old.Sign(ctx, message); err == nil && !ed25519.Verify(pub, message, sig) {
		t.Error("a Key that was handed out before the rotation signs with another key")
	}
	nextPub, _ := next.Public().(ed25519.PublicKey)
	sig, err := next.Sign(ctx, message)
	if err != nil {
		t.Fatalf("signing with the new key: %v", err)
	}
	if !ed25519.Verify(nextPub, message, sig) {
		t.Error("the new key's signature does not verify under its public key")
	}
}
