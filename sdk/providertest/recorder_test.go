package providertest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// A recorder stands in for a *testing.T, so that a suite can fail without failing the test that watches it.
type recorder struct {
	testing.TB // for what is not overridden

	name string
	root *recorder

	mu              sync.Mutex
	failed, skipped bool
	cleanups        []func()

	results map[string]result // the root's; by name of the subtest
}

type result struct {
	failed, skipped bool
	log             string
}

// record runs f and returns what became of each of its subtests.
func record(t *testing.T, f func(tb)) map[string]result {
	t.Helper()
	r := &recorder{TB: t, results: map[string]result{}}
	r.root = r
	r.run("", f)
	return r.results
}

func (r *recorder) run(name string, f func(tb)) bool {
	sub := &recorder{TB: r.TB, root: r.root, name: strings.TrimPrefix(r.name+"/"+name, "/")}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(sub.cleanups) - 1; i >= 0; i-- {
				sub.cleanups[i]()
			}
		}()
		f(sub)
	}()
	<-done
	if sub.Failed() {
		r.Fail()
	}
	root := r.root
	root.mu.Lock()
	defer root.mu.Unlock()
	old := root.results[sub.name]
	root.results[sub.name] = result{sub.failed, sub.skipped, old.log}
	return !sub.failed
}

func (r *recorder) say(text string) {
	r.root.mu.Lock()
	defer r.root.mu.Unlock()
	res := r.root.results[r.name]
	res.log += strings.TrimSuffix(text, "\n") + "\n"
	r.root.results[r.name] = res
}

func (r *recorder) Name() string { return r.name }
func (r *recorder) Helper()      {}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Skipped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skipped
}

func (r *recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) FailNow()                  { r.Fail(); runtime.Goexit() }
func (r *recorder) Log(a ...any)              { r.say(fmt.Sprintln(a...)) }
func (r *recorder) Logf(f string, a ...any)   { r.say(fmt.Sprintf(f, a...)) }
func (r *recorder) Error(a ...any)            { r.Log(a...); r.Fail() }
func (r *recorder) Errorf(f string, a ...any) { r.Logf(f, a...); r.Fail() }
func (r *recorder) Fatal(a ...any)            { r.Log(a...); r.FailNow() }
func (r *recorder) Fatalf(f string, a ...any) { r.Logf(f, a...); r.FailNow() }
func (r *recorder) Skip(a ...any)             { r.Log(a...); r.SkipNow() }
func (r *recorder) Skipf(f string, a ...any)  { r.Logf(f, a...); r.SkipNow() }

// caught fails unless the subtest failed and said what.
func caught(t *testing.T, results map[string]result, subtest, what string) {
	t.Helper()
	res, ok := results[subtest]
	if !ok {
		t.Fatalf("there is no subtest %s among %v", subtest, results)
	}
	if !res.failed {
		t.Fatalf("subtest %s did not fail; all: %+v", subtest, results)
	}
	if !strings.Contains(res.log, what) {
		t.Errorf("subtest %s failed with\n%swhich does not say %q", subtest, res.log, what)
	}
}

// passed fails unless every subtest ran and passed.
func passed(t *testing.T, results map[string]result, subtests ...string) {
	t.Helper()
	for name, res := range results {
		if res.failed || res.skipped {
			t.Errorf("%q of a good provider: failed %v, skipped %v:\n%s", name, res.failed, res.skipped, res.log)
		}
	}
	for _, name := range subtests {
		if _, ok := results[name]; !ok {
			t.Errorf("subtest %s did not run", name)
		}
	}
}
