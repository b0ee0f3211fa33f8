package procs_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/alphaonedev/federation/internal/procs"
)

func TestAProcessThatNobodyWaitsForDoesNotRunOnceItHasEnded(t *testing.T) {
	child := exec.Command(os.Args[0], "-test.run=^$")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if !procs.Running(os.Getpid()) {
		t.Error("this process does not run")
	}
	// Its output ends with it, at the latest.
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); procs.Running(child.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the child has ended and still runs")
		}
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	if procs.Running(child.Process.Pid) {
		t.Error("the child was waited for and still runs")
	}
}
