package signer_test

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the processor time that this thread has used: what else runs on the machine is not in it.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
