package vaulttest_test

import (
	"net/http"
	"testing"

	"github.com/alphaonedev/federation/internal/vaulttest"
)

func TestServerKeepsItsDataAcrossARestart(t *testing.T) {
	s := vaulttest.Start(t)
	s.Transit(t, "transit", "k")
	before := s.Read(t, "transit/keys/k")["keys"].(map[string]any)["1"].(map[string]any)["public_key"]
	s.Kill()
	s.Restart(t)
	after := s.Read(t, "transit/keys/k")["keys"].(map[string]any)["1"].(map[string]any)["public_key"]
	if before != after {
		t.Errorf("the key was %v before the restart and is %v after it", before, after)
	}
}

func TestSealedServerAnswers503(t *testing.T) {
	s := vaulttest.Start(t)
	s.Seal(t)
	resp, err := s.HTTPClient().Get(s.URL + "/v1/sys/seal-status")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	resp, err = s.HTTPClient().Get(s.URL + "/v1/sys/internal/ui/mounts")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", resp.StatusCode)
	}
	s.Unseal(t)
	s.Transit(t, "transit", "k")
}
