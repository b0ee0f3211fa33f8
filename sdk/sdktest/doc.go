// Package sdktest has what a test of a federation needs: a certificate authority, certificates and keys of
// any kind and age, revocation lists, and a clock that the test moves.
//
//	ca := sdktest.NewCA(t)
//	id := ca.Issue(t, sdktest.Leaf{DNS: []string{"b.example"}})
//	os.WriteFile("node.pem", id.CertPEM(), 0o600)
//
// Everything fails the test rather than return an error. Keys are made on the spot and protect nothing:
// never use this package to issue certificates for production.
package sdktest

// TB is the part of testing.TB that the package needs. A *testing.T, *testing.B and *testing.F are ones.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}
