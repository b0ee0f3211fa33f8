package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// A report is the account of a run: what happened when, and which claims held.
type report struct {
	out   io.Writer // nil: say nothing before the end
	start time.Time

	mu     sync.Mutex
	Steps  []step  `json:"steps"`
	Claims []claim `json:"claims"`
	OK     bool    `json:"ok"`
	TookMS float64 `json:"took_ms"`
}

type step struct {
	AtMS float64 `json:"at_ms"`
	Text string  `json:"text"`
}

// A claim is something that the library promises and that this run has checked.
type claim struct {
	Claim string `json:"claim"`
	Held  bool   `json:"held"`
	Found string `json:"found"`
}

func (r *report) say(format string, args ...any) {
	s := step{r.ms(), fmt.Sprintf(format, args...)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Steps = append(r.Steps, s)
	if r.out != nil {
		fmt.Fprintf(r.out, "%6.2fs  %s\n", s.AtMS/1000, s.Text)
	}
}

func (r *report) check(what string, held bool, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Claims = append(r.Claims, claim{what, held, fmt.Sprintf(format, args...)})
}

func (r *report) ms() float64 { return float64(time.Since(r.start).Microseconds()) / 1000 }

// finish says whether everything held.
func (r *report) finish() bool {
	r.TookMS, r.OK = r.ms(), len(r.Claims) > 0
	if r.out != nil {
		fmt.Fprintln(r.out)
	}
	for _, c := range r.Claims {
		r.OK = r.OK && c.Held
		if r.out != nil {
			mark := map[bool]string{true: "held  ", false: "FAILED"}[c.Held]
			fmt.Fprintf(r.out, "%s  %s: %s\n", mark, c.Claim, c.Found)
		}
	}
	return r.OK
}

func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
