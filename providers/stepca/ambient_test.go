package stepca

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

const inner = "STEPCA_TEST_AMBIENT"

// The package below would show the machine's default identity to any CA. It reads where that is when it is initialised, so the
// test runs in a process of its own whose environment says.
func TestNothingAmbientIsUsed(t *testing.T) {
	if os.Getenv(inner) == "" {
		dir := t.TempDir()
		id := sdktest.NewCA(t, sdktest.CAOptions{Name: "the machine's"}).Issue(t, sdktest.Leaf{DNS: []string{"machine"}})
		crt, key := filepath.Join(dir, "id.crt"), filepath.Join(dir, "id.key")
		must(t, os.WriteFile(crt, id.CertPEM(), 0o600))
		must(t, os.WriteFile(key, id.KeyPEM(), 0o600))
		raw, err := json.Marshal(map[string]string{"type": "mTLS", "crt": crt, "key": key})
		must(t, err)
		must(t, os.Mkdir(filepath.Join(dir, "config"), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "config", "identity.json"), raw, 0o600))
		self, err := os.Executable()
		must(t, err)
		cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = []string{inner + "=1", "HOME=" + dir, "STEPPATH=" + dir}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	shown := map[string]int{}
	ca := startCA(t, stepcatest.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if chain := r.TLS.PeerCertificates; len(chain) > 0 {
				shown[r.URL.Path+" "+chain[0].Subject.CommonName]++
			}
			next.ServeHTTP(w, r)
		})
	}})
	c := newClient(t, ca)
	mustTrust(t, c.Trust(TrustConfig{}))
	i := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
	mustIdentity(t, i)
	i.makeDue()
	mustIdentity(t, i)
	if len(shown) != 1 || shown["/renew a.example"] != 1 {
		t.Errorf("client certificates were shown: %v, want the node's own to /renew alone", shown)
	}
}
