package providertest

import (
	"runtime"
	"strings"
)

// stacks returns the stack of every goroutine but the caller's, by id.
func stacks() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	for i, stack := range strings.Split(string(buf), "\n\n") {
		id, _, ok := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		if i > 0 && ok { // the first is the caller
			all[id] = stack
		}
	}
	return all
}

func goroutineIDs() map[string]bool {
	ids := map[string]bool{}
	for id := range stacks() {
		ids[id] = true
	}
	return ids
}

// goroutinesSince returns the stacks of goroutines that are not in before, without those of the runtime and of
// package testing.
func goroutinesSince(before map[string]bool, ignore func(string) bool) []string {
	var left []string
	for id, stack := range stacks() {
		switch {
		case before[id],
			strings.Contains(stack, "created by runtime."),
			strings.Contains(stack, "created by testing."),
			strings.Contains(stack, "created by os/signal."),
			ignore != nil && ignore(stack):
		default:
			left = append(left, stack)
		}
	}
	return left
}
