package vault

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

func FuzzSignatureParse(f *testing.F) {
	for _, s := range []string{"vault:v1:" + strings.Repeat("A", 86) + "==", "vault:v1:", "vault:v2:AAAA", ":::", ""} {
		f.Add(s)
	}
	k := New(Config{Address: "https://vault.example"}).Key(KeyOptions{Name: "k"})
	f.Fuzz(func(t *testing.T, s string) {
		switch o := k.parse(1, s); {
		case o.err == nil && len(o.sig) != ed25519.SignatureSize:
			t.Errorf("%q gives a signature of %d bytes", s, len(o.sig))
		case o.err != nil && !errors.Is(o.err, fault.ErrMaterial):
			t.Errorf("%q gives %v", s, o.err)
		}
	})
}

// What Vault says of a key leads to an error, or to a latest version with a key.
func FuzzKeyDescription(f *testing.F) {
	f.Add([]byte(`{"type":"ed25519","latest_version":1,"keys":{"1":{"public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}}`))
	f.Add([]byte(`{"latest_version":2,"keys":{"1":3}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var described transitKey
		if json.Unmarshal(data, &described) != nil {
			return
		}
		k := New(Config{Address: "https://vault.example"}).Key(KeyOptions{Name: "k"})
		v, err := k.learn(described, time.Now())
		switch {
		case err != nil && !errors.Is(err, fault.ErrMaterial):
			t.Errorf("error %v", err)
		case err == nil && (v.number != described.Latest || len(v.public) != ed25519.PublicKeySize):
			t.Errorf("version %+v", v)
		}
	})
}

func FuzzScrub(f *testing.F) {
	f.Add("token hvs.secret\nwas refused", "hvs.secret")
	f.Fuzz(func(t *testing.T, s, secret string) {
		got := scrub(s, []string{secret})
		if len(got) > 310 || strings.ContainsAny(got, "\n\r") {
			t.Errorf("scrub(%q) = %q", s, got)
		}
		if len(secret) >= 16 && !strings.Contains("[redacted]", secret) && strings.Contains(got, secret) && strings.Join(strings.Fields(secret), " ") == secret {
			t.Errorf("scrub(%q) = %q holds %q", s, got, secret)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for s, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "999999999": time.Hour, "soon": 0, "99999999999999999999": 0} {
		if got := retryAfter(s); got != want {
			t.Errorf("%q gives %v, want %v", s, got, want)
		}
	}
	at := time.Now().Add(time.Minute).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	if got := retryAfter(at); got < 50*time.Second || got > time.Minute {
		t.Errorf("%q gives %v, want about a minute", at, got)
	}
}
