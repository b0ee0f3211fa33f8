package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The outcomes of a rule.
const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// A verdict is what became of one rule.
type verdict struct {
	Rule    string  `json:"rule"`
	Title   string  `json:"title"`
	Outcome string  `json:"outcome"`
	Detail  string  `json:"detail,omitempty"` // what was found, or why it was not looked at
	Cure    string  `json:"cure,omitempty"`   // for fail
	Seconds float64 `json:"seconds"`
}

type report struct {
	Plugin   string    `json:"plugin"`
	Name     string    `json:"name,omitempty"` // what the plugin calls itself
	Version  string    `json:"version,omitempty"`
	Time     time.Time `json:"time"`
	Passed   int       `json:"passed"`
	Failed   int       `json:"failed"`
	Skipped  int       `json:"skipped"`
	Verdicts []verdict `json:"verdicts"`
}

func (v verdict) print(w io.Writer) {
	mark := map[string]string{passed: "ok  ", failed: "FAIL", skipped: "skip"}[v.Outcome]
	fmt.Fprintf(w, "%s  %-18s %s (%.1fs)\n", mark, v.Rule, v.Title, v.Seconds)
	if v.Detail != "" && v.Outcome != passed {
		fmt.Fprintf(w, "      %s\n", strings.ReplaceAll(v.Detail, "\n", "\n      "))
	}
	if v.Cure != "" {
		fmt.Fprintf(w, "      cure: %s\n", v.Cure)
	}
}

func (r *report) summary(w io.Writer) {
	verdict := "conforms"
	if r.Failed > 0 {
		verdict = "does not conform"
	}
	fmt.Fprintf(w, "\n%s %s: %s. %d passed, %d failed, %d skipped.\n",
		strings.TrimSpace(r.Name+" "+r.Version), r.Plugin, verdict, r.Passed, r.Failed, r.Skipped)
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeJUnit(w io.Writer) error {
	type message struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name      string   `xml:"name,attr"`
		Classname string   `xml:"classname,attr"`
		Time      float64  `xml:"time,attr"`
		Failure   *message `xml:"failure,omitempty"`
		Skipped   *message `xml:"skipped,omitempty"`
	}
	type testsuite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     string     `xml:"timestamp,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	s := testsuite{
		Name: "plugincheck " + r.Plugin, Tests: len(r.Verdicts), Failures: r.Failed, Skipped: r.Skipped,
		Time: r.Time.Format(time.RFC3339),
	}
	for _, v := range r.Verdicts {
		c := testcase{Name: v.Rule + ": " + v.Title, Classname: "plugincheck", Time: v.Seconds}
		switch v.Outcome {
		case failed:
			c.Failure = &message{v.Detail, v.Detail + "\ncure: " + v.Cure}
		case skipped:
			c.Skipped = &message{Message: v.Detail}
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
