package signer

import (
	"os/exec"
	"testing"
)

func TestASecondImplementationAgreesOnEveryVector(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	if err := exec.CommandContext(t.Context(), python, "-c", "import cryptography").Run(); err != nil {
		t.Skip("python3 has no module cryptography")
	}
	out, err := exec.CommandContext(t.Context(), python, "testdata/verify_vectors.py").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
