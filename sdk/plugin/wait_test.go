package plugin

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// shortStream says one thing and ends.
type shortStream struct {
	watchStream
	lasts time.Duration
	said  bool
}

func (s *shortStream) Recv() (*pluginpb.WatchResponse, error) {
	if !s.said {
		s.said = true
		return &pluginpb.WatchResponse{}, nil
	}
	time.Sleep(s.lasts)
	return nil, io.EOF
}

func TestAWatchThatEndsAtOnceIsOpenedLessAndLessOften(t *testing.T) {
	for name, c := range map[string]struct {
		lasts       time.Duration
		least, most int // streams in 10 minutes
	}{
		"ends at once":   {0, 15, 120},
		"lasts a second": {time.Second, 500, 600},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Plugin{
					limits: Limits{}.withDefaults(), changed: make(chan struct{}), state: Serving,
					watchers: map[chan struct{}]fault.Role{},
				}
				p.ctx, p.cancel = context.WithCancel(t.Context())
				p.current = &instance{name: "x", roles: []fault.Role{fault.RoleKey}, dead: make(chan struct{})}
				ctx, cancel := context.WithCancel(t.Context())
				opened, changes := 0, 0
				ended := make(chan error)
				go func() {
					ended <- p.watch(ctx, fault.RoleKey, func() { changes++ }, func(context.Context, *instance) (watchStream, error) {
						opened++
						return &shortStream{lasts: c.lasts}, nil
					})
				}()
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if opened < c.least || opened > c.most {
					t.Errorf("%d streams, want %d to %d", opened, c.least, c.most)
				}
				if c.lasts == 0 {
					// Another configuration need not wait.
					before := changes
					p.kick(fault.RoleKey)
					synctest.Wait()
					if got := changes - before; got != 2 {
						t.Errorf("%d changes after a kick, want that of the kick and that of the stream", got)
					}
				}
				cancel()
				<-ended
				p.cancel()
			})
		})
	}
}

// endless says the same again and again.
type endless struct{ watchStream }

func (endless) Recv() (*pluginpb.WatchResponse, error) { return &pluginpb.WatchResponse{}, nil }

func TestAWatchThatFloodsIsReadNoFasterThanMakesSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plugin{changed: make(chan struct{}), state: Serving, watchers: map[chan struct{}]fault.Role{}}
		p.ctx, p.cancel = context.WithCancel(t.Context())
		p.current = &instance{name: "x", roles: []fault.Role{fault.RoleKey}, dead: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		changes := 0
		err := p.watch(ctx, fault.RoleKey, func() {
			if changes++; changes > 501 {
				cancel() // time stands still
			}
		}, func(context.Context, *instance) (watchStream, error) {
			return endless{}, nil
		})
		if !errors.Is(err, context.DeadlineExceeded) || changes < 100 || changes > 501 {
			t.Errorf("%d changes in 10 s, then %v", changes, err)
		}
		p.cancel()
	})
}

func TestTheWaitAfterACrash(t *testing.T) {
	p := &Plugin{limits: Limits{}.withDefaults()}
	const lowest, highest = 100 * time.Millisecond, 30 * time.Second
	type end struct {
		lived    time.Duration
		answered bool
	}
	again := func(n int, e end) (all []end) {
		for range n {
			all = append(all, e)
		}
		return all
	}
	for name, c := range map[string]struct {
		ends    []end
		ceiling time.Duration // of the wait after the last of them
	}{
		"the first":                          {[]end{{settled, false}}, 0},
		"the first, and early":               {[]end{{settled - 1, true}}, lowest},
		"a second":                           {again(2, end{settled, true}), lowest},
		"a fourth":                           {again(4, end{settled, true}), 2 * lowest},
		"killed every second":                {again(60, end{time.Second, true}), 2 * lowest},
		"never of use":                       {again(60, end{time.Second, false}), highest},
		"never settled":                      {again(60, end{0, true}), highest},
		"of use after many that were not":    {append(again(60, end{}), end{time.Second, true}), 2 * lowest},
		"after a long life":                  {append(again(60, end{}), end{highest, false}), 0},
		"the second after a long life":       {append(again(60, end{}), end{highest, false}, end{time.Second, false}), lowest},
		"that failed to start, a first time": {again(1, end{}), lowest},
	} {
		var longest time.Duration
		for range 1000 {
			crashes := 0
			var wait time.Duration
			for _, e := range c.ends {
				wait, crashes = p.pause(crashes, e.lived, e.answered)
			}
			longest = max(longest, wait)
		}
		if longest > c.ceiling || longest < c.ceiling/2 {
			t.Errorf("%s: waits for up to %v, want %v", name, longest, c.ceiling)
		}
	}
}

func TestAManifestThatIsTooLargeIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "SHA256SUMS")
	text := strings.Repeat("0", 64) + "  a\n"
	if err := os.WriteFile(name, []byte(text+strings.Repeat("\n", maxManifest-len(text)+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := ReadManifest(f); !errors.Is(err, fault.ErrConfig) || !strings.Contains(err.Error(), name) {
		t.Errorf("%v, want ErrConfig that names the file", err)
	}
}
