package quorum

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

func TestResolveFillsInDefaults(t *testing.T) {
	p, err := Policy{Writes: 2}.Resolve(2)
	if err != nil {
		t.Fatal(err)
	}
	want := Policy{Writes: 2, N: 3, AckTimeout: 2 * time.Second, ClockSkewWarn: 30 * time.Second}
	if p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	if p.String() != "2 of 3 within 2s" {
		t.Errorf("String() = %q", p.String())
	}
}

func TestResolveMajority(t *testing.T) {
	for n, want := range map[int]int{2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4, 9: 5, 10: 6, 1000: 501, 1001: 501} {
		p, err := Policy{Writes: Majority}.Resolve(n - 1)
		if err != nil {
			t.Fatal(err)
		}
		if p.Writes != want || p.N != n {
			t.Errorf("majority of %d: %d of %d, want %d", n, p.Writes, p.N, want)
		}
		if 2*p.Writes <= n {
			t.Errorf("two majorities of %d need not overlap with %d", n, p.Writes)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		p      Policy
		peers  int
		fields []string
	}{
		"W over N":                 {Policy{Writes: 4}, 2, []string{"Quorum.Writes"}},
		"negative W":               {Policy{Writes: -2}, 2, []string{"Quorum.Writes"}},
		"negative ack timeout":     {Policy{Writes: 2, AckTimeout: -1}, 2, []string{"Quorum.AckTimeout"}},
		"negative clock skew":      {Policy{Writes: 2, ClockSkewWarn: -time.Second}, 2, []string{"Quorum.ClockSkewWarn"}},
		"negative peers":           {Policy{Writes: 1}, -1, []string{"Quorum.N"}},
		"everything at once":       {Policy{Writes: 9, AckTimeout: -1, ClockSkewWarn: -1}, 2, []string{"Quorum.Writes", "Quorum.AckTimeout", "Quorum.ClockSkewWarn"}},
		"a mistake while disabled": {Policy{AckTimeout: -1}, 0, []string{"Quorum.AckTimeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.p.Resolve(c.peers)
			if !errors.Is(err, fault.ErrConfig) {
				t.Fatalf("got %v, want ErrConfig", err)
			}
			if errors.Is(err, ErrDisabled) {
				t.Errorf("%v also says disabled", err)
			}
			var ce *fault.ConfigError
			if !errors.As(err, &ce) {
				t.Fatalf("%T is no ConfigError", err)
			}
			for _, f := range c.fields {
				if !strings.Contains(err.Error(), f+": ") {
					t.Errorf("%q does not name %s", err, f)
				}
			}
		})
	}
}

func TestResolveDisabled(t *testing.T) {
	for name, c := range map[string]struct {
		p     Policy
		peers int
		cure  string
	}{
		"zero writes":        {Policy{}, 2, "Quorum.Writes"},
		"no peers":           {Policy{Writes: 1}, 0, "Peers"},
		"majority, no peers": {Policy{Writes: Majority}, 0, "Peers"},
		"W of 2, no peers":   {Policy{Writes: 2}, 0, "Peers"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.p.Resolve(c.peers)
			if !errors.Is(err, ErrDisabled) || errors.Is(err, fault.ErrConfig) {
				t.Fatalf("got %v, want ErrDisabled alone", err)
			}
			if !strings.Contains(err.Error(), c.cure) {
				t.Errorf("%q does not say how to turn it on", err)
			}
		})
	}
}
