package plugin_test

import (
	"sync"
	"testing"

	"github.com/alphaonedev/federation/sdk/plugin"
)

// A recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []plugin.Event
}

func (r *recorder) record(e plugin.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) kinds() []plugin.EventKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []plugin.EventKind
	for _, e := range r.events {
		out = append(out, e.Kind)
	}
	return out
}

func (r *recorder) count(k plugin.EventKind) int {
	n := 0
	for _, have := range r.kinds() {
		if have == k {
			n++
		}
	}
	return n
}

// movableConfig is a plugin over a folder that the test moves.
func movableConfig(t testing.TB) (plugin.Config, *movable, *recorder) {
	t.Helper()
	m := newMovable(t)
	c := config(t, "folder")
	c.Settings = map[string]string{"dir": m.dir}
	r := &recorder{}
	c.OnEvent = r.record
	return c, m, r
}
