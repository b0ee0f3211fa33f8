//go:build deps

package deps

import (
	_ "github.com/c2sp/wycheproof"
	_ "github.com/dunglas/httpsfv"
	_ "github.com/fsnotify/fsnotify"
	_ "github.com/go-jose/go-jose/v4"
	_ "github.com/hashicorp/go-hclog"
	_ "github.com/hashicorp/go-plugin"
	_ "github.com/hashicorp/vault/api"
	_ "github.com/hashicorp/vault/api/auth/approle"
	_ "github.com/hashicorp/vault/api/auth/kubernetes"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/smallstep/certificates/acme/api"
	_ "github.com/smallstep/certificates/api"
	_ "github.com/smallstep/certificates/authority"
	_ "github.com/smallstep/certificates/ca"
	_ "github.com/youmark/pkcs8"
	_ "go.etcd.io/bbolt"
	_ "go.uber.org/goleak"
	_ "golang.org/x/crypto/acme"
	_ "golang.org/x/crypto/ocsp"
	_ "golang.org/x/crypto/ssh"
	_ "golang.org/x/net/idna"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "google.golang.org/grpc"
	_ "google.golang.org/protobuf/proto"
	_ "software.sslmate.com/src/go-pkcs12"
)
