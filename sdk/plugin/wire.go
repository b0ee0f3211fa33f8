package plugin

import (
	"crypto/tls"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

func fromConfiguration(c *pluginpb.Configuration) Settings {
	s := Settings{
		Values:     map[string]string{},
		Secrets:    map[string]Secret{},
		Revision:   c.GetRevision(),
		InstanceID: c.GetInstanceId(),
	}
	for k, v := range c.GetSettings() {
		s.Values[k] = v
	}
	for k, v := range c.GetSecrets() {
		s.Secrets[k] = Secret(v)
	}
	return s
}

func toConfiguration(s Settings) *pluginpb.Configuration {
	c := &pluginpb.Configuration{
		Settings:   s.Values,
		Secrets:    map[string][]byte{},
		Revision:   s.Revision,
		InstanceId: s.InstanceID,
	}
	for k, v := range s.Secrets {
		c.Secrets[k] = []byte(v)
	}
	return c
}

var roleOf = map[pluginpb.Role]fault.Role{
	pluginpb.Role_ROLE_TRUST:    fault.RoleTrust,
	pluginpb.Role_ROLE_IDENTITY: fault.RoleIdentity,
	pluginpb.Role_ROLE_KEY:      fault.RoleKey,
}

func wireRoles(roles []fault.Role) []pluginpb.Role {
	var out []pluginpb.Role
	for _, w := range []pluginpb.Role{pluginpb.Role_ROLE_TRUST, pluginpb.Role_ROLE_IDENTITY, pluginpb.Role_ROLE_KEY} {
		if slices.Contains(roles, roleOf[w]) {
			out = append(out, w)
		}
	}
	return out
}

// fromRoles ignores roles that this version does not know and those named twice.
func fromRoles(wire []pluginpb.Role) []fault.Role {
	var out []fault.Role
	for _, w := range wire {
		if r, ok := roleOf[w]; ok && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

func wireSchemes(s []tls.SignatureScheme) []uint32 {
	out := make([]uint32, len(s))
	for i, v := range s {
		out[i] = uint32(v)
	}
	return out
}

// millis rounds up, so that a short interval does not become "the host decides".
func millis(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

// fromMillis bounds what a plugin asks for, so that the conversion cannot overflow.
func fromMillis(ms int64) time.Duration {
	const most = 10 * 365 * 24 * time.Hour
	if ms <= 0 {
		return 0
	}
	if ms > most.Milliseconds() {
		return most
	}
	return time.Duration(ms) * time.Millisecond
}
