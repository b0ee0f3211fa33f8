package signer_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/signer"
)

// A wrappedKey is a crypto.Signer of somebody else's making.
type wrappedKey struct{ ed25519.PrivateKey }

func TestPrivateKeysAreNeverPrinted(t *testing.T) {
	private := privateKey(7)
	for name, of := range map[string]crypto.Signer{"in process": private, "a crypto.Signer": wrappedKey{private}} {
		t.Run(name, func(t *testing.T) {
			key, err := signer.KeyOf(of)
			if err != nil {
				t.Fatal(err)
			}
			s, err := signer.New(signer.Config{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []any{
				key, s,
				signer.Config{Key: key},
				&signer.Config{Key: key},
				[]signer.Key{key},
				struct{ Key signer.Key }{key},
				struct{ key signer.Key }{key}, // a caller's own, exported or not
			} {
				var log bytes.Buffer
				slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
				asJSON, _ := json.Marshal(v)
				for text, how := range map[string]string{log.String(): "slog", string(asJSON): "json"} {
					wantNoSeed(t, private, text, fmt.Sprintf("%T by %s", v, how))
				}
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "% x"} {
					wantNoSeed(t, private, fmt.Sprintf(verb, v), fmt.Sprintf("%T by %s", v, verb))
				}
			}
			if text := fmt.Sprintf("%v", key); !strings.Contains(text, s.KeyID()) {
				t.Errorf("a key prints as %q, want its thumbprint %s in it", text, s.KeyID())
			}
		})
	}
}

// wantNoSeed looks for the first bytes of a seed as any of fmt's verbs, and JSON, write them.
func wantNoSeed(t *testing.T, private ed25519.PrivateKey, text, what string) {
	t.Helper()
	head := private.Seed()[:6]
	inner := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", head), "[]byte{"), "}")
	base64, _ := json.Marshal(head)
	for _, spelling := range []string{
		string(head), strings.Trim(fmt.Sprint(head), "[]"), inner, fmt.Sprintf("%x", head), fmt.Sprintf("%X", head),
		fmt.Sprintf("% x", head), strings.Trim(fmt.Sprintf("%q", head), `"`), string(base64[1 : len(base64)-1]),
	} {
		if strings.Contains(text, spelling) {
			t.Errorf("%s shows the private key", what)
			return
		}
	}
}
