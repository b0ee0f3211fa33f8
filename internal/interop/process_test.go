package interop

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// needed is what the peer imports beyond Python's own.
const needed = "import ssl, cryptography.hazmat.primitives.asymmetric.ed25519"

// findPython returns an interpreter that can run the peer. Without one the test is skipped, unless
// FEDERATION_NO_SKIP is set.
func findPython(t *testing.T) string {
	t.Helper()
	venv, err := filepath.Abs("../../examples/plugin-python/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range []string{venv, "python3"} {
		path, err := exec.LookPath(python)
		if err == nil && exec.CommandContext(t.Context(), path, "-c", needed).Run() == nil {
			return path
		}
	}
	const missing = "no Python 3 with the module cryptography: no peer in another language is tested; examples/plugin-python/setup makes one"
	if os.Getenv("FEDERATION_NO_SKIP") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

const pythonName = "python.mesh"

// A process is a running peer.
type process struct {
	url     string
	signing []byte // its public key
	in      io.Writer
	out     *bufio.Reader
}

// start starts a peer of the nodes in mesh, with a certificate of its authority.
func start(t *testing.T, python string, mesh *sdktest.MeshNetwork, memory bool) *process {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	id, signing := mesh.CA.Issue(t, sdktest.Leaf{DNS: []string{pythonName}}), sdktest.Ed25519(t)
	peers := make(map[string]string)
	for i, n := range mesh.Nodes {
		peers[nodeName(i)] = n.URL
	}
	cmd := exec.CommandContext(t.Context(), python, "-B", "peer.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // ends it
		_ = cmd.Wait()
	})
	p := &process{signing: signing.Public().(ed25519.PublicKey), in: in, out: bufio.NewReader(out)}
	var began struct{ Port json.Number }
	p.ask(t, map[string]any{
		"name": pythonName, "memory": memory, "peers": peers, "seed": base64.StdEncoding.EncodeToString(signing.Seed()),
		"cert": write("node.pem", id.CertPEM()), "key": write("node-key.pem", id.KeyPEM()), "ca": write("ca.pem", mesh.CA.PEM()),
	}, &began)
	p.url = "https://127.0.0.1:" + began.Port.String()
	return p
}

// peer is how nodes of the mesh are configured with it.
func (p *process) peer() sdk.Peer {
	return sdk.Peer{Name: "python", ID: pythonName, ServerName: pythonName, URL: p.url}
}

// ask has it do something and reads the answer.
func (p *process) ask(t *testing.T, what, answer any) {
	t.Helper()
	line, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		t.Fatalf("the peer is gone: %v", err)
	}
	line, err = p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the peer is gone: %v", err)
	}
	var failed struct{ Error string }
	if err := json.Unmarshal(line, &failed); err != nil || failed.Error != "" {
		t.Fatalf("the peer failed: %s %v", failed.Error, err)
	}
	if answer != nil {
		if err := json.Unmarshal(line, answer); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}
