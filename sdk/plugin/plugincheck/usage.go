package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// resources are what a process has.
type resources struct {
	memory   int64 // resident, bytes
	files    int   // open descriptors
	threads  int
	children int // processes that it started
}

func (r resources) String() string {
	return fmt.Sprintf("%d KiB of memory, %d descriptors, %d threads and %d child processes", r.memory>>10, r.files, r.threads, r.children)
}

func (r resources) plus(o resources) resources {
	return resources{r.memory + o.memory, r.files + o.files, r.threads + o.threads, r.children + o.children}
}

func (r resources) within(o resources) bool {
	return r.memory <= o.memory && r.files <= o.files && r.threads <= o.threads && r.children <= o.children
}

// usage reads what a process has, where the platform tells (proc(5)).
func usage(pid int) (resources, bool) {
	var r resources
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return r, false
	}
	r.files = len(fds)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return r, false
	}
	r.threads = len(tasks)
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return r, false
	}
	f := strings.Fields(string(statm))
	if len(f) < 2 {
		return r, false
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	r.memory = pages * int64(os.Getpagesize())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, _ := os.ReadFile(name) // it may have ended
		_, after, _ := bytes.Cut(stat, []byte(") "))
		if f := bytes.Fields(after); len(f) > 1 && string(f[1]) == strconv.Itoa(pid) {
			r.children++
		}
	}
	return r, err == nil
}
