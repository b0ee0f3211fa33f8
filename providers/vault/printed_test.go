package vault

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestValuesThatHoldSecretsDoNotPrintThem(t *testing.T) {
	const secret = "hvs.correct-horse-battery-staple"
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x5a}, ed25519.SeedSize))
	c := New(Config{Address: "https://vault.example:8200", Auth: &Token{Value: secret}})
	defer c.Close()
	c.auth.current = &session{token: secret}
	identity := c.Identity(IdentityOptions{Role: "node", DNS: []string{"a.example"}})
	identity.state.cert = &tls.Certificate{PrivateKey: key}
	for _, v := range []any{
		&Token{Value: secret},
		Token{Value: secret},
		&TokenFile{Path: "token", value: secret},
		&AppRole{RoleID: "role", SecretID: secret, given: secret, unwrapped: secret},
		&JWT{Path: "jwt", last: lastSecret{s: secret}}, &Kubernetes{Role: "node", last: lastSecret{s: secret}},
		Config{Auth: &Token{Value: secret}},
		&Config{Auth: &TokenFile{value: secret}},
		c, identity, c.Trust(TrustOptions{}), c.Key(KeyOptions{Name: "node"}),
	} {
		var text strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&text, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("m", "v", v)
		if data, err := json.Marshal(v); err == nil {
			text.Write(data)
		}
		for _, hidden := range []string{
			secret, fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprint(key.Seed()), "[]"), fmt.Sprintf("%x", key.Seed()),
			strings.Repeat("Z", ed25519.SeedSize),
		} {
			if strings.Contains(text.String(), hidden) {
				t.Errorf("%T prints a secret", v)
				break
			}
		}
	}
}
