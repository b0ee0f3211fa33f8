//go:build !linux

package signer_test

import "time"

var began = time.Now()

// cpuTime is the time on the wall where there is nothing better.
func cpuTime() time.Duration { return time.Since(began) }

func processTime() time.Duration { return time.Since(began) }
