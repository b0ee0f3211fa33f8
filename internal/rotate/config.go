package rotate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// Config describes one piece of material. Pull is required; every other zero field is a default.
//
// Pull, Accept, Equal and Life meet what a provider returned: a panic in them becomes an error. Accept,
// Equal, Life, OnChange, OnSame and OnEvent are called one at a time; they may call Current and Status, but not
// Refresh or Close, which wait for them.
type Config[T any] struct {
	// Role names the part of the federation in errors and events.
	Role fault.Role

	// Pull returns the material that is valid now. Its context ends after PullTimeout or with Close. A call
	// that does not return by then is abandoned: its answer is dropped, and it counts against MaxAbandoned
	// until it returns.
	Pull func(ctx context.Context) (T, error)
	// Watch calls changed whenever the material may have changed, until ctx ends. nil, or an answer of
	// ErrUnsupported: poll only. Any other return is followed by a restart with backoff.
	Watch func(ctx context.Context, changed func()) error

	// Accept decides on material that differs from what is in service; old is the zero value if nothing is.
	// An error keeps it out of service. nil: everything is accepted.
	Accept func(old, new T) error
	// Equal reports that two values are the same material. nil: no two values are.
	Equal func(a, b T) bool
	// Life says when to pull again and when the material ends. nil: every 5 minutes, never.
	Life func(T) Life

	// Poll says that Pull only looks at what there is, so that an early look costs nothing but a request. The
	// first pull that is due after Start, or after failures, then comes at a random time before Refresh: a fleet
	// that started, or found its backend again, in the same second does not ask in step from then on.
	Poll bool

	// OnChange is called after new material went into service, before Refresh returns. It is not called for
	// the value with which Start returns.
	OnChange func(old, new T)
	// OnSame is called with a value that is Equal to the one in service, and takes its place: what it holds
	// besides the material, such as a session with whoever keeps a key, may be newer. It is no change: no event,
	// no new generation. nil: the first value stays.
	OnSame func(T)
	// OnEvent is called for every event.
	OnEvent func(Event)

	// Optional makes Start return without a value after a first failure, unless the configuration is
	// wrong (ErrConfig, ErrUnsupported, ErrClosed), and keep trying.
	Optional bool

	PullTimeout time.Duration // bounds one Pull; default 30 s
	MinBackoff  time.Duration // ceiling of the first delay after a failure; default 500 ms
	// MaxBackoff is the ceiling of all delays; default 1 minute. Errors that somebody has to cure (ErrPermission,
	// ErrConfig and their like) wait up to 5 times as long. RetryAfter of a ProviderError comes on top.
	MaxBackoff time.Duration
	// Jitter is the part of the time to Refresh over which due times are spread, after Refresh, never before
	// it (but see Poll): a provider that renews only what is due is asked when it is due. Rolled once for each
	// material.
	// Default 0.1.
	Jitter float64
	// MaxAbandoned bounds the calls of Pull that ignored the end of their context and still run. At the bound
	// a pull fails without a call. Default 3.
	MaxAbandoned int
	// ClockCheck is the longest time between two looks at the wall clock; a machine that slept past a due
	// time pulls within this time of waking. Default 1 s.
	ClockCheck time.Duration

	Now  func() time.Time // the wall clock; default time.Now
	Rand func() float64   // uniform in [0, 1), safe for concurrent use; default math/rand/v2
}

// Life says how long material serves. Both times are wall clock.
type Life struct {
	Refresh time.Time // when to pull again; zero: in 5 minutes
	Expires time.Time // from when on it is worthless; zero: never
}

func (c *Config[T]) setDefaults() error {
	if c.Pull == nil {
		return &fault.ConfigError{Field: "Pull", Err: errors.New("nil; set it to the provider's method")}
	}
	if c.PullTimeout < 0 || c.MinBackoff < 0 || c.MaxBackoff < 0 || c.Jitter < 0 || c.Jitter > 1 ||
		c.MaxAbandoned < 0 || c.ClockCheck < 0 {
		return &fault.ConfigError{Field: "Config", Err: fmt.Errorf(
			"a negative duration or count, or a jitter over 1: PullTimeout %v, MinBackoff %v, MaxBackoff %v, Jitter %v, MaxAbandoned %d, ClockCheck %v",
			c.PullTimeout, c.MinBackoff, c.MaxBackoff, c.Jitter, c.MaxAbandoned, c.ClockCheck,
		)}
	}
	def(&c.PullTimeout, 30*time.Second)
	def(&c.MinBackoff, 500*time.Millisecond)
	def(&c.MaxBackoff, time.Minute)
	def(&c.Jitter, 0.1)
	def(&c.MaxAbandoned, 3)
	def(&c.ClockCheck, time.Second)
	c.MaxBackoff = max(c.MaxBackoff, c.MinBackoff)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Accept == nil {
		c.Accept = func(_, _ T) error { return nil }
	}
	if c.Equal == nil {
		c.Equal = func(_, _ T) bool { return false }
	}
	if c.Life == nil {
		c.Life = func(T) Life { return Life{} }
	}
	return nil
}

func def[V comparable](field *V, value V) {
	var zero V
	if *field == zero {
		*field = value
	}
}
