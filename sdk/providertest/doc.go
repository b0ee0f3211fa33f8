// Package providertest holds the conformance suites for the three kinds of provider. A provider's own test
// calls the suite of its role with a harness that makes the provider and moves its source:
//
//	func TestConformance(t *testing.T) {
//		providertest.Trust(t, providertest.TrustHarness{
//			New:    func(t testing.TB) sdk.TrustProvider { … },
//			Rotate: func(t testing.TB) { … },
//			Break:  func(t testing.TB) error { …; return sdk.ErrUnavailable },
//			Mend:   func(t testing.TB) { … },
//		})
//	}
//
// The suites see a provider through its interface only, so that the same harness serves for one in this
// process and for one behind a plugin's socket. They call New once for each subtest, wait for events and never for a
// fixed time, and belong under the race detector. They must not run in parallel with other tests of the
// package, because one subtest counts goroutines.
//
// # Watch
//
// A provider that is an sdk.Watcher must tell of every change made after Watch was called. One that needs
// time before it sees changes calls changed once when it does, so that a change in between is found by the
// pull that follows.
//
// The package imports testing and is for tests only.
package providertest
