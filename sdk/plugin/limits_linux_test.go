package plugin_test

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limits says what this process may take. Go raises its own soft limit on descriptors; the hard one tells.
func limits() string {
	get := func(resource int) uint64 {
		var l unix.Rlimit
		if err := unix.Getrlimit(resource, &l); err != nil {
			return 1<<64 - 1
		}
		return l.Max
	}
	return fmt.Sprintf("core=%d files=%d memory=%d;", get(unix.RLIMIT_CORE), get(unix.RLIMIT_NOFILE), get(unix.RLIMIT_AS))
}
