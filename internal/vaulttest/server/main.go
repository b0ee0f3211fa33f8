// Command server is a small Vault server for this project's tests: file storage that survives a restart,
// the pki, transit and kv secrets engines, and the approle, cert, jwt and kubernetes login methods.
//
// It lives in a module of its own because the server it links is under the Business Source License and
// weighs a hundred megabytes: nothing that this project ships imports it. It prints the address it
// listens on, one line, and serves until it is killed.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	data := flag.String("data", "", "folder of the storage; empty: in memory")
	cert := flag.String("cert", "", "PEM certificate for TLS; empty: plain HTTP")
	key := flag.String("key", "", "PEM key for TLS")
	level := flag.String("level", "off", "log level")
	flag.Parse()

	log := hclog.New(&hclog.LoggerOptions{Level: hclog.LevelFromString(*level), Output: os.Stderr})
	store, err := storage(*data, log)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           store,
		Logger:             log,
		DisableMlock:       true,
		DefaultLeaseTTL:    768 * time.Hour,
		MaxLeaseTTL:        87600 * time.Hour,
		LogicalBackends:    secretsEngines,
		CredentialBackends: loginMethods,
		BuiltinRegistry:    registry{},
		PluginDirectory:    "",
		EnableRaw:          false,
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	props := &vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Address: *listen},
	}
	srv := &http.Server{Handler: vaulthttp.Handler.Handler(props), ReadHeaderTimeout: 10 * time.Second}
	scheme := "http"
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Clean(*cert), filepath.Clean(*key))
		if err != nil {
			return err
		}
		// The cert login method needs the client's certificate and verifies it itself.
		l = tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{pair},
			ClientAuth:   tls.RequestClientCert,
			ClientCAs:    x509.NewCertPool(),
			NextProtos:   []string{"h2", "http/1.1"},
			MinVersion:   tls.VersionTLS12,
		})
		scheme = "https"
	}
	fmt.Printf("%s://%s\n", scheme, l.Addr())
	return srv.Serve(l)
}

func storage(dir string, log hclog.Logger) (physical.Backend, error) {
	if dir == "" {
		return inmem.NewInmem(nil, log)
	}
	return file.NewFileBackend(map[string]string{"path": dir}, log)
}
