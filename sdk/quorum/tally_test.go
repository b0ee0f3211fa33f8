package quorum

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

func TestTallyCases(t *testing.T) {
	data, err := os.ReadFile("testdata/tally.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split(string(data), "\ncase ")[1:]
	if len(cases) < 10 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		name, body, _ := strings.Cut(c, "\n")
		t.Run(name, func(t *testing.T) { runTallyCase(t, body) })
	}
}

func runTallyCase(t *testing.T, body string) {
	var p Policy
	var tally *Tally
	var counted, states []string
	part := func(s string) string { return strings.TrimPrefix(s, "-") }
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		var voter int
		var key, name string
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "", "#":
		case "policy":
			fmt.Sscanf(line, "policy %d %d", &p.Writes, &p.N)
			tally = NewTally(p)
		case "ack":
			fmt.Sscanf(line, "ack %d %s %s", &voter, &key, &name)
			ok := "no"
			if tally.Ack(voter, Identity{Key: part(key), TLS: part(name)}) {
				ok = "yes"
			}
			counted, states = append(counted, ok), append(states, tally.State().String())
		case "fail":
			fmt.Sscanf(line, "fail %d", &voter)
			tally.Fail(voter)
			states = append(states, tally.State().String())
		case "want":
			got := fmt.Sprintf("want counted=%s states=%s acked=%d", strings.Join(counted, ","), strings.Join(states, ","), tally.Acked())
			if got != line {
				t.Errorf("got  %s\nwant %s", got, line)
			}
			return
		default:
			t.Fatalf("unknown step %q", line)
		}
	}
	t.Fatal("the case has no want line")
}

// twin is a Tally written as the definition says, without regard to speed.
type twin struct {
	p      Policy
	events []event
}

type event struct {
	voter int
	ack   bool
	id    Identity
}

// replay returns who counted, by going through the whole history.
func (w *twin) replay() (counted []event, open int) {
	settled := map[int]bool{}
	for _, e := range w.events {
		if e.voter < 0 || e.voter >= w.p.N || settled[e.voter] {
			continue
		}
		settled[e.voter] = true
		if !e.ack || e.id == (Identity{}) {
			continue
		}
		fresh := true
		for _, c := range counted {
			if c.id.Key != "" && c.id.Key == e.id.Key || c.id.TLS != "" && c.id.TLS == e.id.TLS {
				fresh = false
			}
		}
		if fresh {
			counted = append(counted, e)
		}
	}
	return counted, w.p.N - len(settled)
}

func TestTallyAgreesWithItsNaiveTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[State]int{}
	for range 20000 {
		n := 1 + rng.IntN(9)
		p := Policy{N: n, Writes: 1 + rng.IntN(n)}
		tally, naive := NewTally(p), &twin{p: p}
		final := Pending
		for range rng.IntN(2 * n) {
			e := event{voter: rng.IntN(n+2) - 1, ack: rng.IntN(4) > 0}
			if rng.IntN(8) > 0 {
				e.id.Key = fmt.Sprint("k", rng.IntN(n+1))
			}
			if rng.IntN(8) > 0 {
				e.id.TLS = fmt.Sprint("t", rng.IntN(n+1))
			}
			before, _ := naive.replay()
			naive.events = append(naive.events, e)
			after, open := naive.replay()
			if e.ack {
				if got, want := tally.Ack(e.voter, e.id), len(after) > len(before); got != want {
					t.Fatalf("%+v: Ack = %v, want %v after %+v", p, got, want, naive.events)
				}
			} else {
				tally.Fail(e.voter)
			}
			want := Pending
			switch {
			case len(after) >= p.Writes:
				want = Met
			case len(after)+open < p.Writes:
				want = Lost
			}
			if got := tally.State(); got != want || tally.Acked() != len(after) || tally.Open() != open {
				t.Fatalf("%+v: %v with %d acked and %d open, want %v with %d and %d after %+v",
					p, got, tally.Acked(), tally.Open(), want, len(after), open, naive.events)
			}
			if final != Pending && want != final {
				t.Fatalf("%+v: %v became %v after %+v", p, final, want, naive.events)
			}
			final = want
		}
		seen[final]++
	}
	for _, s := range []State{Pending, Met, Lost} {
		if seen[s] < 1000 {
			t.Errorf("only %d histories ended %v", seen[s], s)
		}
	}
}
