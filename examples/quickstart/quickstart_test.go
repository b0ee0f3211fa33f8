package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// binary is the program; it starts itself again as nodes b and c.
func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program and runs three processes")
	}
	out := filepath.Join(t.TempDir(), "quickstart.exe")
	if text, err := exec.Command("go", "build", "-buildvcs=false", "-o", out, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// run runs it with a folder of its own for temporary files, and checks that none is left.
func run(t *testing.T, args ...string) string {
	t.Helper()
	program, temporary := binary(t), t.TempDir()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary, "TEMP="+temporary, "TMP="+temporary)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind %v, %v", left, err)
	}
	return string(out)
}

func TestTheAccountEndsWithEveryClaimHeld(t *testing.T) {
	out := run(t)
	if !strings.Contains(out, "\nheld ") || strings.Contains(out, "FAILED") {
		t.Errorf("\n%s", out)
	}
	t.Log("\n" + out)
}

func TestTheSameComesAsOneObject(t *testing.T) {
	var r report
	if err := json.Unmarshal([]byte(run(t, "-json")), &r); err != nil {
		t.Fatal(err)
	}
	if !r.OK || len(r.Claims) < 6 || len(r.Steps) < 10 || r.TookMS <= 0 {
		t.Errorf("ok %v, %d claims, %d steps, took %v ms", r.OK, len(r.Claims), len(r.Steps), r.TookMS)
	}
	for _, c := range r.Claims {
		if !c.Held {
			t.Errorf("%+v", c)
		}
	}
}

func TestAFalseClaimFailsTheRun(t *testing.T) {
	r := &report{}
	if r.finish() {
		t.Error("a run without claims passed")
	}
	r.check("one", true, "")
	r.check("two", false, "")
	if r.finish() {
		t.Error("a run with a false claim passed")
	}
}
