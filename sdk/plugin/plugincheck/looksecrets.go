package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// shortest is how long a secret, or a line of one, must be to be looked for: less stands in any text by chance.
const shortest = 6

func lookSecrets(ctx context.Context, t *target) error {
	if len(t.secrets) == 0 {
		return skip{"no -secret is given"}
	}
	if err := t.provoke(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	said, looked := t.said.String(), false
	for name, v := range t.secrets {
		for line := range strings.Lines(string(v)) {
			if line = strings.TrimSpace(line); len(line) < shortest || strings.HasPrefix(line, "-----") {
				continue
			}
			looked = true
			if how := stands(said, line); how != "" {
				return fmt.Errorf("the secret %q stands in what the plugin wrote or answered%s", name, how)
			}
		}
	}
	for _, marker := range t.markers {
		if how := stands(said, marker); how != "" {
			return fmt.Errorf("a secret of a configuration that it refused stands in what the plugin wrote or answered%s", how)
		}
	}
	if !looked {
		return skip{fmt.Sprintf("a secret of fewer than %d characters cannot be told from other text; give a longer one", shortest)}
	}
	return nil
}

// provoke has the plugin log and refuse: the other rules have done so too, but this one may be alone.
func (t *target) provoke(ctx context.Context) error {
	p, roles, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	for _, bad := range t.badConfigurations(2) {
		_, _ = p.configure(ctx, bad)
		_, err := pluginpb.NewLifecycleClient(p.conn).Validate(ctx, &pluginpb.ValidateRequest{Configuration: bad})
		_ = t.noted(err)
	}
	_ = p.serves(ctx, roles)
	_ = p.signs(ctx, roles)
	if p.shutdown(ctx) == nil {
		select { // it may log as it ends
		case <-p.ended:
		case <-time.After(stopBound):
		}
	}
	return nil
}

// stands says how a secret stands in text: "" is not at all.
func stands(text, secret string) string {
	if strings.Contains(text, secret) {
		return " as it is"
	}
	spellings := map[string][]string{
		" in hexadecimal":  {hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))},
		" as a URL has it": {url.QueryEscape(secret), url.PathEscape(secret)},
		" as a list of octets": {
			strings.Trim(fmt.Sprint([]byte(secret)), "[]"), strings.ReplaceAll(strings.Trim(fmt.Sprint([]byte(secret)), "[]"), " ", ", "),
		},
	}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for skew := range 3 { // whatever stands before it, such as a user's name
			all := e.EncodeToString(append(make([]byte, skew), secret...))
			first, last := (skew*8+5)/6, (skew+len(secret))*8/6
			spellings[" in base64"] = append(spellings[" in base64"], all[first:last])
		}
	}
	for how, all := range spellings {
		if slices.ContainsFunc(all, func(s string) bool { return strings.Contains(text, s) }) {
			return how
		}
	}
	return ""
}
