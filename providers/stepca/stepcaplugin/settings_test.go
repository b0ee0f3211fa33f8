package stepcaplugin

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func settings(values, secrets map[string]string) plugin.Settings {
	s := plugin.Settings{
		Values: map[string]string{
			URL: "https://ca.example:9000", Fingerprint: strings.Repeat("0", 64), Names: "a.example, spiffe://example/a",
			Provisioner: "nodes", KeyX5CProvisioner: "vouchers", Lifetime: "24h", Rekey: "true", CRL: "required", KeyLead: "1m",
		},
		Secrets: map[string]plugin.Secret{Password: "secret of the provisioner"},
	}
	for k, v := range values {
		if s.Values[k] = v; v == "" {
			delete(s.Values, k)
		}
	}
	for k, v := range secrets {
		if s.Secrets[k] = plugin.Secret(v); v == "" {
			delete(s.Secrets, k)
		}
	}
	return s
}

func TestRolesFollowTheSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		values, secrets map[string]string
		identity, key   bool
	}{
		"all three":      {identity: true, key: true},
		"trust alone":    {values: map[string]string{Provisioner: "", KeyX5CProvisioner: ""}},
		"no signing key": {values: map[string]string{KeyX5CProvisioner: ""}, identity: true},
		"key by password": {
			values:  map[string]string{Provisioner: "", KeyX5CProvisioner: "", KeyProvisioner: "keys"},
			secrets: map[string]string{KeyPassword: "x"}, key: true,
		},
		"ACME": {
			values:   map[string]string{Provisioner: "", ACMESolver: "http-01", Names: "a.example"},
			identity: true, key: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Configure(context.Background(), settings(tc.values, tc.secrets))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if p.Trust == nil || (p.Identity != nil) != tc.identity || (p.Key != nil) != tc.key {
				t.Errorf("trust %v, identity %v, key %v", p.Trust != nil, p.Identity != nil, p.Key != nil)
			}
		})
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		values, secrets map[string]string
		says            []string
	}{
		"misspelt":                  {values: map[string]string{"fingreprint": "1"}, says: []string{"fingreprint"}},
		"no fingerprint, wrong URL": {values: map[string]string{Fingerprint: "", URL: "http://x"}, says: []string{"Fingerprint", "URL"}},
		"duration":                  {values: map[string]string{Lifetime: "a day", KeyLead: "-1s"}, says: []string{Lifetime, KeyLead}},
		"truth":                     {values: map[string]string{Rekey: "perhaps"}, says: []string{Rekey}},
		"scope":                     {values: map[string]string{Scope: "all"}, says: []string{Scope, "federated"}},
		"two ways to enrol":         {values: map[string]string{ACMESolver: "http-01"}, says: []string{"choose one"}},
		"two ways for the key":      {values: map[string]string{KeyProvisioner: "keys"}, says: []string{KeyProvisioner, "choose one"}},
		"nobody to vouch":           {values: map[string]string{Provisioner: ""}, says: []string{KeyX5CProvisioner, "vouch"}},
		"no password":               {secrets: map[string]string{Password: ""}, says: []string{"Password"}},
		"token that is none":        {values: map[string]string{Provisioner: ""}, secrets: map[string]string{Token: "nonsense of a token"}, says: []string{"not a JWT"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(settings(tc.values, tc.secrets))
			if !errors.Is(err, sdk.ErrConfig) {
				t.Fatalf("error is %v, want one that wraps %q", err, sdk.ErrConfig)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "secret of") || strings.Contains(err.Error(), "nonsense of") {
				t.Errorf("error %q holds a secret", err)
			}
		})
	}
}
