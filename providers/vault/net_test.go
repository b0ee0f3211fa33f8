package vault_test

import (
	"net"
	"net/http"
)

type (
	httpWriter  = http.ResponseWriter
	httpRequest = http.Request
)

func loopbackIPs() []net.IP { return []net.IP{net.IPv4(127, 0, 0, 1)} }

// endless sends more than anyone may keep.
func endless(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Type", "application/json")
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = ' '
	}
	for range 64 {
		if _, err := w.Write(chunk); err != nil {
			break
		}
	}
	return true
}

func keepAlive(rt http.RoundTripper) http.RoundTripper {
	tr := rt.(*http.Transport).Clone()
	tr.DisableKeepAlives = false
	tr.ForceAttemptHTTP2 = true
	tr.MaxIdleConnsPerHost = 8
	return tr
}
