package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// folder makes the files of a node, as its installation would.
func folder() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		panic(err)
	}
	t := failer{}
	ca := sdktest.NewCA(t)
	id := ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}})
	for name, data := range map[string][]byte{
		"ca.pem":       ca.PEM(),
		"ca.crl":       ca.CRL(t, sdktest.CRLOptions{}).Raw,
		"node.pem":     id.CertPEM(),
		"node-key.pem": id.KeyPEM(),
		"node.ed25519": sdktest.KeyPEM(t, sdktest.Ed25519(t)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			panic(err)
		}
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// A failer is the sdktest.TB of a program that is no test.
type failer struct{}

func (failer) Helper()                           {}
func (failer) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func ExampleTrust() {
	dir, remove := folder()
	defer remove()
	trust := &file.Trust{
		Path: filepath.Join(dir, "ca.pem"),
		CRLs: []string{filepath.Join(dir, "ca.crl")},
	}
	bundle, err := trust.TrustBundle(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(bundle.Roots), "root,", len(bundle.CRLs), "revocation list")
	// Output: 1 root, 1 revocation list
}

func ExampleIdentity() {
	dir, remove := folder()
	defer remove()
	identity := &file.Identity{
		Cert:   filepath.Join(dir, "node.pem"),
		Key:    filepath.Join(dir, "node-key.pem"),
		Strict: true,
	}
	id, err := identity.Identity(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id.Certificate.Leaf.DNSNames)
	// Output: [a.example]
}

func ExampleKey() {
	dir, remove := folder()
	defer remove()
	key := &file.Key{Path: filepath.Join(dir, "node.ed25519")}
	set, err := key.SigningKeys(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	sig, err := set.Active.Sign(context.Background(), []byte("message"))
	fmt.Println(len(sig), err)
	// Output: 64 <nil>
}

// The passphrase of an encrypted key comes from a file of its own, such as a systemd credential.
func ExamplePassphraseFile() {
	identity := &file.Identity{
		Cert:       "node.p12",
		Passphrase: file.PassphraseFile("/run/credentials/node.service/passphrase"),
	}
	fmt.Println(identity.Validate())
	// Output: <nil>
}

// The three together are what a Builder wants.
func Example() {
	b := sdk.Builder{
		Trust:    &file.Trust{Path: "ca.pem"},
		Identity: &file.Identity{Cert: "node.pem", Key: "node-key.pem"},
		Key:      &file.Key{Path: "node.ed25519"},
		Peers:    []sdk.Peer{{URL: "https://b.example:9077"}, {URL: "https://c.example:9077"}},
	}
	b.Quorum.Writes = 2
	fmt.Println(len(b.Peers), "peers")
	// Output: 2 peers
}
