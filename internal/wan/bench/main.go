// Command bench measures transport across an emulated wide-area network, beside net/http in the same run, and
// prints Markdown tables. docs/benchmarks.md holds what it printed.
//
//	go run ./internal/wan/bench [-run regexp] [-time 30s] [-n 15]
//
// It needs Linux and root; elsewhere it says so and ends with status 0.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"time"
)

// A scenario prints one table.
type scenario struct {
	name string
	run  func(o options) error
}

type options struct {
	n    int           // repetitions behind a median
	time time.Duration // of each run under load
}

var scenarios = []scenario{
	{"roundtrips", roundTrips},
	{"bodies", bodies},
	{"rotation", rotation},
	{"reload", reload},
	{"blackhole", blackhole},
}

func main() {
	pattern := flag.String("run", ".", "which scenarios: roundtrips, bodies, rotation, reload, blackhole")
	o := options{}
	flag.IntVar(&o.n, "n", 15, "repetitions behind each median")
	flag.DurationVar(&o.time, "time", 30*time.Second, "length of each run under load")
	flag.Parse()
	re, err := regexp.Compile(*pattern)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Printf("%s, %d CPUs, %s/%s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	for _, s := range scenarios {
		if !re.MatchString(s.name) {
			continue
		}
		fmt.Printf("\n### %s\n\n", s.name)
		if err := s.run(o); errors.Is(err, errors.ErrUnsupported) {
			fmt.Println("skipped:", err)
			return
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
