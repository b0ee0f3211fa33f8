package sdk

import "testing"

// The first certificate is judged while Build is under way, and trust may change meanwhile.
func TestTrustMayChangeWhileTheFirstCertificateIsJudged(t *testing.T) {
	f := new(Federation)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100_000 {
			if err := f.acceptIdentity(nil, nil); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			f.lookAtStranded()
		}
	}
}
