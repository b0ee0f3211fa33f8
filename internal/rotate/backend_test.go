package rotate

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// material is what the tests rotate.
type material struct {
	name string
	life Life
}

// backend is a source of material whose answer, and whose clocks, a test sets.
type backend struct {
	mu     sync.Mutex
	answer func(ctx context.Context) (material, error)
	pulls  []time.Time // of the monotonic clock
	events []Event
	asleep time.Duration // what the wall clock is ahead of the monotonic one
}

// issues makes the backend answer this material, ends and all.
func (b *backend) issues(name string, refresh, expires time.Duration) {
	m := material{name: name, life: Life{Refresh: b.now().Add(refresh)}}
	if expires != 0 {
		m.life.Expires = b.now().Add(expires)
	}
	b.does(func(context.Context) (material, error) { return m, nil })
}

func (b *backend) fails(err error) {
	b.does(func(context.Context) (material, error) { return material{}, err })
}

func (b *backend) does(answer func(context.Context) (material, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *backend) pull(ctx context.Context) (material, error) {
	b.mu.Lock()
	b.pulls = append(b.pulls, time.Now())
	answer := b.answer
	b.mu.Unlock()
	return answer(ctx)
}

func (b *backend) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.asleep)
}

// sleep is the sleep of the machine: the wall clock goes on, timers stand still.
func (b *backend) sleep(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep += d
}

func (b *backend) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pulls)
}

// kinds are the kinds of the events so far, which it forgets.
func (b *backend) kinds() []Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Kind
	for _, e := range b.events {
		out = append(out, e.Kind)
	}
	b.events = nil
	return out
}

// config has no chance in it: the jitter and every backoff roll one half.
func (b *backend) config() Config[material] {
	return Config[material]{
		Role:  fault.RoleIdentity,
		Pull:  b.pull,
		Equal: func(x, y material) bool { return x.name == y.name },
		Life:  func(m material) Life { return m.life },
		OnEvent: func(e Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
		Now:  b.now,
		Rand: func() float64 { return 0.5 },
	}
}

func start(t *testing.T, cfg Config[material]) *Source[material] {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// settle lets d pass and all that is due in it happen.
func settle(d time.Duration) {
	time.Sleep(d + time.Millisecond)
	synctest.Wait()
}

func name(s *Source[material]) string {
	m, _ := s.Current()
	return m.name
}
