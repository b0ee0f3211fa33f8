package plugin_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/signer"
)

// serveMode is main of the plugin that a test asked for.
func serveMode(mode string, args []string) {
	switch mode {
	case "folder":
		plugin.Serve(folder)
	case "good":
		plugin.Serve(good)
	case "once":
		beOnce(args[0], args[1])
	case "host":
		beHost(args[0])
	case "slow-sign":
		plugin.Serve(slowSign(args[0]))
	case "grandchild":
		cmd := exec.Command("/proc/self/exe", "plugin", "sleeping-grandchild", strconv.Itoa(os.Getppid()))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		plugin.Serve(good)
	case "sleeping-grandchild":
		time.Sleep(time.Hour)
	case "floods":
		configured := make(chan struct{})
		go flood(os.Stdout, os.Stderr, configured)
		var once sync.Once
		plugin.Serve(func(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
			once.Do(func() { close(configured) })
			return good(ctx, s)
		})
	case "panics":
		plugin.Serve(func(context.Context, plugin.Settings) (plugin.Providers, error) {
			return plugin.Providers{Trust: trustFunc(func(context.Context) (*sdk.TrustBundle, error) {
				var b *sdk.TrustBundle
				return b, fmt.Errorf("%v", b.Roots[0])
			})}, nil
		})
	case "shows":
		plugin.Serve(says(func() string {
			var out []string
			for _, e := range os.Environ() {
				name, value, _ := strings.Cut(e, "=")
				if strings.HasPrefix(name, "PLUGIN_") || strings.HasPrefix(name, "FEDERATION_") {
					e = name
				}
				_ = value
				out = append(out, e)
			}
			slices.Sort(out)
			dir, _ := os.Getwd()
			stdin, _ := os.Readlink("/proc/self/fd/0")
			return strings.Join(append(out, "dir="+dir, "stdin="+stdin), " ")
		}))
	case "limits":
		plugin.Serve(says(limits))
	case "lists":
		plugin.Serve(says(func() string {
			var out []string
			_ = fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					b, _ := os.ReadFile(name)
					out = append(out, name+"="+string(b))
				}
				return nil
			})
			return strings.Join(out, " ") + ";"
		}))
	case "blabs":
		plugin.Serve(blab)
	case "logs":
		plugin.Serve(logs)
	case "prints":
		fmt.Println("hello from the plugin")
		plugin.Serve(good)
	case "prints-on":
		for {
			fmt.Print(strings.Repeat("x", 1<<16))
		}
	case "exits":
		fmt.Fprintln(os.Stderr, "no licence today")
		os.Exit(7)
	case "hangs":
		time.Sleep(time.Hour)
	case "hangs-after":
		line := "1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/s|grpc|" + certificateLine()
		fmt.Println(line)
		time.Sleep(time.Hour)
	case "other-certificate":
		l := listen()
		fmt.Println("1|1|unix|" + l.Addr().String() + "|grpc|" + certificateLine())
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	case "no-line-break":
		fmt.Print("1|1|unix|/s|grpc|" + certificateLine())
		time.Sleep(time.Hour)
	case "ends-in-line":
		fmt.Print("1|1|unix|/s|grpc|" + certificateLine())
		os.Stdout.Close()
		time.Sleep(time.Hour)
	case "long-line":
		fmt.Println("1|1|unix|/s|grpc|" + strings.Repeat("A", 1<<20))
		time.Sleep(time.Hour)
	case "version":
		fmt.Println("1|99|unix|/s|grpc|" + certificateLine())
		time.Sleep(time.Hour)
	case "netrpc":
		fmt.Println("1|1|unix|/s|netrpc|" + certificateLine())
		time.Sleep(time.Hour)
	case "plain":
		fmt.Println("1|1|unix|/s|grpc|")
		time.Sleep(time.Hour)
	case "halfcert":
		fmt.Println("1|1|unix|/s|grpc|" + certificateLine()[:80])
		time.Sleep(time.Hour)
	case "elsewhere":
		fmt.Println("1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/../../s|grpc|" + certificateLine())
		time.Sleep(time.Hour)
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:22|grpc|" + certificateLine())
		time.Sleep(time.Hour)
	default:
		lie(mode)
	}
}

// good serves what is in its settings: "roots" in PEM, and the secrets "identity" (chain and key in PEM) and
// "seed" (of an Ed25519 key).
func good(_ context.Context, s plugin.Settings) (plugin.Providers, error) {
	if err := s.Only("roots", "identity", "seed"); err != nil {
		return plugin.Providers{}, err
	}
	var p plugin.Providers
	if v, ok := s.Values["roots"]; ok {
		roots, err := parseRoots(v)
		if err != nil {
			return p, err
		}
		p.Trust = trustFunc(func(context.Context) (*sdk.TrustBundle, error) {
			return &sdk.TrustBundle{Roots: roots}, nil
		})
	}
	if v, ok := s.Secrets["identity"]; ok {
		pair, err := tls.X509KeyPair([]byte(v), []byte(v))
		if err != nil {
			return p, fmt.Errorf("%w: identity: %w", fault.ErrConfig, err)
		}
		p.Identity = identityFunc(func(context.Context) (*sdk.Identity, error) {
			return &sdk.Identity{Certificate: &pair}, nil
		})
	}
	if v, ok := s.Secrets["seed"]; ok {
		if len(v) != ed25519.SeedSize {
			return p, fmt.Errorf("%w: the seed has %d octets", fault.ErrConfig, len(v))
		}
		key, err := signer.KeyOf(ed25519.NewKeyFromSeed([]byte(v)))
		if err != nil {
			return p, err
		}
		p.Key = keyFunc(func(context.Context) (*sdk.KeySet, error) {
			return &sdk.KeySet{Active: key}, nil
		})
	}
	return p, nil
}

type (
	trustFunc    func(context.Context) (*sdk.TrustBundle, error)
	identityFunc func(context.Context) (*sdk.Identity, error)
	keyFunc      func(context.Context) (*sdk.KeySet, error)
)

func (f trustFunc) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) { return f(ctx) }
func (f identityFunc) Identity(ctx context.Context) (*sdk.Identity, error)    { return f(ctx) }
func (f keyFunc) SigningKeys(ctx context.Context) (*sdk.KeySet, error)        { return f(ctx) }

func parseRoots(text string) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: roots: %w", fault.ErrConfig, err)
		}
		roots = append(roots, c)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: roots: no certificate", fault.ErrConfig)
	}
	return roots, nil
}

// certificateLine is field 6 of a handshake line.
func certificateLine() string {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return base64.RawStdEncoding.EncodeToString(der)
}

// listen listens at the socket with a certificate that no handshake line names.
func listen() net.Listener {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	l, err := tls.Listen("unix", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/s", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"},
	})
	if err != nil {
		panic(err)
	}
	return l
}

// says is a plugin whose bundle is an error with what f returns.
func says(f func() string) plugin.Configure {
	return func(context.Context, plugin.Settings) (plugin.Providers, error) {
		return plugin.Providers{Trust: trustFunc(func(context.Context) (*sdk.TrustBundle, error) {
			return nil, fmt.Errorf("it sees: %s", f())
		})}, nil
	}
}

// slowSign is folder with keys that make a file when they are asked to sign, unless it exists, and then take
// their time.
func slowSign(marker string) plugin.Configure {
	wait := func() {
		f, err := os.OpenFile(marker, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			time.Sleep(time.Minute)
		}
	}
	return func(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
		f := folderSource{s.Values["dir"]}
		// The proofs of possession come first, and are not what the test is about.
		if _, err := os.Stat(marker); err != nil {
			_ = os.WriteFile(marker, nil, 0o600)
		}
		return plugin.Providers{
			Identity: identityFunc(func(ctx context.Context) (*sdk.Identity, error) {
				id, err := f.Identity(ctx)
				if err != nil {
					return nil, err
				}
				c := *id.Certificate
				c.PrivateKey = slowSigner{c.PrivateKey.(crypto.Signer), wait}
				return &sdk.Identity{Certificate: &c}, nil
			}),
			Key: keyFunc(func(ctx context.Context) (*sdk.KeySet, error) {
				set, err := f.SigningKeys(ctx)
				if err != nil {
					return nil, err
				}
				return &sdk.KeySet{Active: slowKey{set.Active, wait}}, nil
			}),
		}, nil
	}
}

type slowSigner struct {
	crypto.Signer
	wait func()
}

func (s slowSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	s.wait()
	return s.Signer.Sign(r, digest, o)
}

type slowKey struct {
	signer.Key
	wait func()
}

func (k slowKey) Sign(ctx context.Context, m []byte) ([]byte, error) {
	k.wait()
	return k.Key.Sign(ctx, m)
}

// flood writes what has been seen to hurt a host, and much of it.
// flood writes to the real stdout only when the handshake, which has that to itself, is over.
func flood(stdout, stderr *os.File, configured <-chan struct{}) {
	lines := []string{
		`{"@level":null}`, `{"@level":7,"@message":{}}`, `{"@message":["x"],"@timestamp":1}`, `{}`, `{"a":`, "null", "\x00\xff\xfe",
		`{"@level":"info","@message":"hello","n":1,"o":{"p":[1,2]}}`, "panic: not really", strings.Repeat("y", 1<<20),
		`{"@level":"debug","@message":"` + strings.Repeat("z", 1<<20) + `"}`,
	}
	for range 200 {
		for _, l := range lines[:9] {
			fmt.Fprintln(stderr, l)
		}
	}
	for _, l := range lines[9:] {
		fmt.Fprintln(stderr, l)
	}
	<-configured
	for range 20 {
		fmt.Fprint(stdout, strings.Repeat("unbroken", 1<<17)) // the real standard output
		fmt.Fprint(os.Stdout, strings.Repeat("redirected\n", 1<<10))
	}
	for range 2000 {
		fmt.Fprintln(stderr, "more")
	}
}

// blab tells its secrets to everybody.
func blab(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
	secret := string(s.Secrets["token"])
	if s.Revision > 1 {
		return plugin.Providers{}, fmt.Errorf("%w: no good: %s", fault.ErrConfig, secret)
	}
	return plugin.Providers{Trust: trustFunc(func(context.Context) (*sdk.TrustBundle, error) {
		fmt.Println("printed", secret)
		fmt.Fprintln(os.Stderr, "standard error", secret)
		log.Println("[INFO] package log", secret)
		plugin.Logger(ctx).Error("hclog "+secret, "key", secret, "quoted", string(s.Secrets["quoted"]), "list", []string{secret})
		plugin.Logger(ctx).Warn("the end")
		return nil, fmt.Errorf("the backend did not like %s", secret)
	})}, nil
}

// beOnce is a good plugin the first time, and one of a mode each time after. It leaves a file for each.
func beOnce(marker, mode string) {
	f, err := os.OpenFile(marker, os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		f.Close()
		plugin.Serve(good)
		return
	}
	_ = os.WriteFile(marker+".again", nil, 0o600)
	serveMode(mode, nil)
}
