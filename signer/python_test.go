package signer

import (
	"os/exec"
	"testing"
)

func TestASecondImplementationAgreesOnEveryVector(t *testing.T) { secondImplementation(t) }

// secondImplementation checks vectors, those of testdata or of another folder.
func secondImplementation(t *testing.T, folder ...string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	if err := exec.CommandContext(t.Context(), python, "-c", "import cryptography").Run(); err != nil {
		t.Skip("python3 has no module cryptography")
	}
	out, err := exec.CommandContext(t.Context(), python, append([]string{"testdata/verify_vectors.py"}, folder...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
