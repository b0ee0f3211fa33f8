// Package vaulttest runs a real Vault server for tests.
//
// The server is a program of its own, in a module of its own (the server folder), because it is large and
// under the Business Source License: it is built for tests, kept in the user's cache folder, started as a
// process, and linked into nothing. make test builds it; where it is missing a test is skipped and says how
// to get it, unless FEDERATION_NO_SKIP is set, which makes that a failure.
//
//	v := vaulttest.Start(t)
//	v.PKI(t, "pki", …)
//	client := vault.New(vault.Config{Address: v.URL, Roots: v.Roots, …})
package vaulttest
