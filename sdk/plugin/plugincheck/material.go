package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// material names what the plugin returns for each of roles, so that two states can be compared.
func (p *process) material(ctx context.Context, roles []pluginpb.Role) (map[pluginpb.Role]string, error) {
	out := map[pluginpb.Role]string{}
	for _, role := range roles {
		text, err := p.print(ctx, role)
		if err != nil {
			return nil, fmt.Errorf("%v: %w%s", role, p.t.noted(err), p.tail())
		}
		out[role] = text
	}
	return out, nil
}

func (p *process) print(ctx context.Context, role pluginpb.Role) (string, error) {
	switch role {
	case pluginpb.Role_ROLE_TRUST:
		r, err := pluginpb.NewTrustClient(p.conn).TrustBundle(ctx, &pluginpb.TrustBundleRequest{})
		return prints(r.GetRoots(), true) + " " + prints(r.GetCrls(), true), err
	case pluginpb.Role_ROLE_IDENTITY:
		r, err := pluginpb.NewIdentityClient(p.conn).Identity(ctx, &pluginpb.IdentityRequest{})
		return fmt.Sprintf("%s %x %x", prints(r.GetChain(), false), r.GetFingerprint(), r.GetSignatureSchemes()), err
	case pluginpb.Role_ROLE_KEY:
		r, err := pluginpb.NewKeyClient(p.conn).SigningKeys(ctx, &pluginpb.SigningKeysRequest{})
		return fmt.Sprintf("%x %s", r.GetActive(), prints(r.GetPublished(), true)), err
	}
	return "", nil
}

// prints is the digests of values, in an order of their own where theirs means nothing.
func prints(values [][]byte, anyOrder bool) string {
	values = slices.Clone(values)
	if anyOrder {
		slices.SortFunc(values, bytes.Compare)
	}
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, "%x,", sha256.Sum256(v))
	}
	return b.String()
}

// moved is the error of a role whose material changed.
type moved struct{ error }

// unmoved calls change and reports a role whose material is another one after it. A role that never returns the same
// twice is left to its suite.
func (p *process) unmoved(ctx context.Context, roles []pluginpb.Role, change func() error) error {
	first, err := p.material(ctx, roles)
	if err != nil {
		return err
	}
	before, err := p.material(ctx, roles)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := p.material(ctx, roles)
	if err != nil {
		return err
	}
	for _, role := range roles {
		if first[role] == before[role] && before[role] != after[role] {
			return moved{fmt.Errorf("%v returns other material than before", role)}
		}
	}
	return nil
}

// steadily looks again, with another process, where material has changed: it may do so by itself, but hardly each time.
func steadily(look func(context.Context, *target) error) func(context.Context, *target) error {
	return func(ctx context.Context, t *target) (err error) {
		for range 3 {
			if err = look(ctx, t); !errors.As(err, new(moved)) {
				break
			}
		}
		return err
	}
}

// badConfigurations are two that no plugin can accept: what is under test with a setting more, and that setting among
// others whose values are nonsense. The secrets of the latter are fresh, and are looked for like the real ones.
func (t *target) badConfigurations(revision uint64) []*pluginpb.Configuration {
	known, nonsense := t.configuration(revision), t.configuration(revision)
	for name := range nonsense.Settings {
		nonsense.Settings[name] = "plugincheck:no-such-value"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range nonsense.Secrets {
		marker := "plugincheck-" + rand.Text()
		nonsense.Secrets[name] = []byte(marker)
		t.markers = append(t.markers, marker)
	}
	known.Settings[noSuchSetting], nonsense.Settings[noSuchSetting] = "x", "x"
	return []*pluginpb.Configuration{known, nonsense}
}

const noSuchSetting = "no-such-setting"
