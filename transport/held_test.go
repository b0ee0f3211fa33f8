package transport_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

func TestTheLengthOfAnotherAnswerIsNotWaitedFor(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		ca := sdktest.NewCA(t)
		a := newNode(t, "a", transport.Options{Protocol: p}, nil)
		b := newNode(t, "b", transport.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			if r.Method != http.MethodHead {
				w.WriteHeader(http.StatusNotModified)
			}
		}))
		join(t, ca, a, b)
		for method, want := range map[string]int{http.MethodHead: http.StatusOK, http.MethodGet: http.StatusNotModified} {
			ctx, cancel := context.WithTimeout(transport.WithOperation(t.Context(), "op"), patient)
			defer cancel()
			resp, err := a.tr.RoundTrip(request(t, ctx, method, b, nil))
			if err != nil {
				t.Errorf("%s: %v", method, err)
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: status %d, want %d", method, resp.StatusCode, want)
			}
		}
		if st := peerStats(t, a.tr, "b"); st.Resent != 0 {
			t.Errorf("%d resent, want none", st.Resent)
		}
	})
}
