// Package stepcatest runs a real step-ca for tests and examples: the authority of github.com/smallstep/certificates behind
// its own API, in this process on a loopback port, or the step-ca command in a process of its own.
//
//	ca, err := stepcatest.Start(stepcatest.Options{})
//	if err != nil {
//		return err
//	}
//	defer ca.Close()
//	client := stepca.New(stepca.Config{URL: ca.URL, Fingerprint: ca.Fingerprint()})
//
// Its keys are made on the spot and live in memory. It is no way to run a CA.
package stepcatest
