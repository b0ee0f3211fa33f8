package stepca

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
)

func TestProvidersDoNotPrintWhatTheyHold(t *testing.T) {
	const token = "eyJhbGciOiJFUzI1NiJ9.correct-horse.battery-staple"
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x5a}, ed25519.SeedSize))
	c := New(Config{URL: "https://ca.example:9000", Fingerprint: strings.Repeat("ab", 32)})
	defer c.Close()
	names := []string{"a.example"}
	byToken := c.Identity(IdentityConfig{Names: names, Enrolment: OneTimeToken(token)})
	byACME := c.Identity(IdentityConfig{Names: names, Enrolment: ACME{KeyID: "id", MACKey: []byte(token), AccountKey: key}})
	byACME.flow.now = &held{key: key}
	signing := c.Key(KeyConfig{Names: names, Enrolment: JWK{Provisioner: "keys", Key: key, KeyID: "id"}})
	signing.flow.keys = []dated{{held: &held{key: key}}}
	for name, v := range map[string]any{"OneTimeToken": byToken, "ACME": byACME, "Key": signing, "Client": c, "Trust": c.Trust(TrustConfig{})} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v)
			for _, hidden := range []string{
				token, fmt.Sprintf("%x", token), strings.Trim(fmt.Sprint([]byte(token)), "[]"),
				strings.Trim(fmt.Sprint(key.Seed()), "[]"), fmt.Sprintf("%x", key.Seed()), string(key.Seed()),
			} {
				if strings.Contains(text, hidden) {
					t.Errorf("%s by %s shows a secret", name, verb)
				}
			}
		}
	}
}
