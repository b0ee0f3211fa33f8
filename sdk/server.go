package sdk

import (
	"log"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
	"github.com/hashicorp/go-hclog"
)

// Limits of Server.
const (
	serverHeaderTimeout = 10 * time.Second
	serverMaxHeader     = 64 << 10
)

// Server returns an HTTP server for h, set up for peers: TLS that follows every rotation and lets peers in alone,
// connections that a change of trust closes, limits on headers, and idle connections kept longer than peers keep
// theirs. Start it with ListenAndServeTLS("", ""), at its Addr, which is port 443 unless it is set, or with
// ServeTLS(l, "", "") or Serve(f.Listener(l)); stop it with its own Shutdown, before the Federation's. Fields may be
// changed before it starts, TLSConfig excepted.
//
// h is called for whoever TLS lets in: wrap it in Verify, or use Handler, to have messages verified. A request
// that comes without TLS is refused.
func (f *Federation) Server(h http.Handler) *http.Server {
	srv := &http.Server{
		Handler:           f.requireTLS(h),
		IdleTimeout:       transport.ServerIdleTimeout,
		ReadHeaderTimeout: serverHeaderTimeout,
		MaxHeaderBytes:    serverMaxHeader,
		ErrorLog:          f.serverLog(),
		// "OPTIONS *" is verified like everything else.
		DisableGeneralOptionsHandler: true,
	}
	f.transport.ConfigureServer(srv)
	return srv
}

// requireTLS refuses what came over a listener without TLS, which a server started with Serve on a plain
// listener would let in.
func (f *Federation) requireTLS(h http.Handler) http.Handler {
	if f.cfg.AllowPlaintext {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			_, _, err := f.verifyPlaintext(w, r)
			f.deny(w, nil, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (f *Federation) serverLog() *log.Logger {
	return f.cfg.Logger.Named("server").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
}

// KeyDirectory serves this node's public signing keys, to be mounted at signer.DirectoryPath; Handler does that.
// It needs no signature, so that two nodes that have never met can begin.
func (f *Federation) KeyDirectory() http.Handler { return signer.DirectoryHandler(f.publishedKeys) }
