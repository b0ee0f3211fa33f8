package sdk_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// eventsOf collects the events of one kind.
type eventsOf struct {
	kind sdk.EventKind
	mu   sync.Mutex
	got  []sdk.Event
}

func (e *eventsOf) add(ev sdk.Event) {
	if ev.Kind == e.kind {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.got = append(e.got, ev)
	}
}

// await waits for n events, and fails on more.
func (e *eventsOf) await(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); e.count() < n && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if e.count() != n {
		t.Errorf("%d events, want %d", e.count(), n)
	}
}

func (e *eventsOf) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.got)
}

func TestTwoURLsOfOneNodeCountOnce(t *testing.T) {
	for name, unsigned := range map[string]bool{"by certificate": true, "by key": false} {
		t.Run(name, func(t *testing.T) {
			events := &eventsOf{kind: sdk.EventSameNode}
			mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{
				Writes: 2, Unsigned: unsigned,
				Leaf: func(i int, l *sdktest.Leaf) {
					if i == 1 {
						l.DNS = append(l.DNS, "alias.mesh")
					}
				},
				Configure: func(i int, b *sdk.Builder) {
					if i == 0 {
						alias := b.Peers[0]
						alias.Name, alias.ID, alias.ServerName = "alias", "alias.mesh", "alias.mesh"
						alias.URL += "/alias"
						b.Peers = append(b.Peers, alias)
						b.Quorum.Writes = 3
						b.OnEvent = events.add
					}
				},
			})
			_, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
			var not *quorum.NotMetError
			if !errors.As(err, &not) || not.Got > 2 {
				t.Fatalf("one node and this one were counted as three: %v", err)
			}
			if unsigned {
				if not.Reason != quorum.Drift {
					t.Errorf("reason %v", not.Reason)
				}
				events.await(t, 1)
			}
		})
	}
}

func TestAPeerThatIsThisNodeCountsOnce(t *testing.T) {
	events := &eventsOf{kind: sdk.EventSameNode}
	var url string
	prepare := func(mesh *sdktest.MeshNetwork) { url = mesh.Nodes[0].URL }
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Writes: 2, Prepare: prepare, Configure: func(i int, b *sdk.Builder) {
		if i == 0 {
			b.Peers = append(b.Peers, sdk.Peer{Name: "mirror", URL: url, ServerName: "node-0.mesh"})
			b.Quorum.Writes = 3
			b.OnEvent = events.add
		}
	}})
	_, err := push(t, mesh.Nodes[0], sdk.Message{Body: []byte("x")})
	var not *quorum.NotMetError
	if !errors.As(err, &not) || not.Got > 2 {
		t.Fatalf("this node was counted twice: %v", err)
	}
	if not.Reason != quorum.Drift || !errors.Is(not.Outcomes[2].Err, quorum.ErrSameIdentity) {
		t.Errorf("got %v: %+v", not.Reason, not.Outcomes[2])
	}
	events.await(t, 1)
}
