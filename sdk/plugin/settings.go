package plugin

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Secret is a password, token or key that a plugin needs. However it is printed, logged or marshalled, it
// shows as "[secret]"; string(s) is the value. Only in a field that is not exported fmt prints the value: it calls no
// methods there.
type Secret string

const hidden = "[secret]"

// String returns a placeholder.
func (Secret) String() string { return hidden }

// GoString returns a placeholder.
func (Secret) GoString() string { return hidden }

// Format prints a placeholder whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue makes log/slog print a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText makes encoders write a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Settings is what a plugin is configured with.
type Settings struct {
	Values  map[string]string // plain; may be logged
	Secrets map[string]Secret // never logged by either side

	// Revision grows with every change of values. InstanceID names the host's Plugin; it stays the same
	// when the process is restarted, so that a plugin can find again what it enrolled.
	Revision   uint64
	InstanceID string
}

// Only returns an error that wraps ErrConfig and names every setting and secret that is not among names. A
// plugin calls it first, so that a misspelt setting is an error instead of a default.
func (s Settings) Only(names ...string) error {
	var unknown []string
	for name := range s.Values {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		}
	}
	for name := range s.Secrets {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return &fault.ConfigError{
		Field: unknown[0],
		Err:   fmt.Errorf("unknown setting %q; known are %q", unknown, names),
	}
}

// same reports whether two configurations have the same values.
func (s Settings) same(o Settings) bool {
	return maps.Equal(s.Values, o.Values) && maps.Equal(s.Secrets, o.Secrets)
}

func (s Settings) clone() Settings {
	s.Values, s.Secrets = maps.Clone(s.Values), maps.Clone(s.Secrets)
	return s
}
