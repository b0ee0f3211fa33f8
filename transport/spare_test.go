package transport_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

// Each repetition is sent on a connection made for it, and over HTTP/2 a failed exchange ends none.
func TestRepetitionsLeaveNoConnectionsBehind(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("a peer that breaks off %v", answers), func(t *testing.T) {
			asked := make(chan struct{}, 100)
			ca := sdktest.NewCA(t)
			a := newNode(t, "a", transport.Options{
				Protocol: transport.HTTP2, SilenceInitial: time.Millisecond, SilenceFloor: time.Millisecond,
			}, nil)
			b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				if answers {
					panic(http.ErrAbortHandler)
				}
				<-r.Context().Done()
			}))
			join(t, ca, a, b)
			for i := range 20 {
				ctx, cancel := context.WithTimeout(transport.WithOperation(t.Context(), fmt.Sprint("op-", i)), patient)
				go func() {
					for range 2 {
						select {
						case <-asked:
						case <-ctx.Done():
							return
						}
					}
					if !answers {
						cancel()
					}
				}()
				resp, err := a.tr.RoundTrip(request(t, ctx, http.MethodPost, b, strings.NewReader("x")))
				cancel()
				if err == nil {
					resp.Body.Close()
					t.Fatal("an answer")
				}
			}
			if st := peerStats(t, a.tr, "b"); st.Resent+st.Silences < 10 {
				t.Fatalf("only %d repetitions", st.Resent+st.Silences)
			}
			eventually(t, "few connections are kept", func() bool { return peerStats(t, a.tr, "b").Open[transport.Quorum] <= 2 })
		})
	}
}
